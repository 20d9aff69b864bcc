"""Folders and files of any name and owner: what is in them, how large they are, how they are deleted.

`etils.epath` takes `[`, `*` and `?` for patterns also in the path of a folder (`glob`), fails where the
system has no name for the owner of a file (`stat`), and deletes no folder behind a link (`rmtree`).
"""

import fnmatch
import glob
import os

from etils import epath

from emnat_jax.artifacts.atomic import is_local, require_file
from emnat_jax.errors import UserError, explain, require


def entries(folder: epath.PathLike, pattern: str = "*") -> list[epath.Path]:
    """What lies in a folder under names that fit, sorted; nothing where there is no such folder."""
    folder = epath.Path(folder)
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted((path for path in found if fnmatch.fnmatchcase(path.name, pattern)), key=os.fspath)


def found_at(folder: epath.PathLike, pattern: str) -> list[epath.Path]:
    """As `entries`, with a `/` in the pattern where it goes on inside the folders that are found."""
    first, _, rest = pattern.partition("/")
    found = entries(folder, first)
    return [inner for outer in found for inner in found_at(outer, rest)] if rest else found


def numbered(folder: epath.PathLike) -> dict[int, epath.Path]:
    """Number -> what lies in a folder under it, in increasing order; other names (01) are passed over."""
    decimal = (path for path in entries(folder) if path.name.isdecimal())
    found = {int(path.name): path for path in decimal if path.name == str(int(path.name))}
    return dict(sorted(found.items()))


def file_size(path: epath.PathLike) -> int:
    """Bytes of a file."""
    return os.stat(path).st_size if is_local(path) else epath.Path(path).stat().length


def require_files(folder: epath.PathLike) -> None:
    """UserError for a pipe, a socket or a device anywhere in a folder that a library is to open."""
    for place, _, names in os.walk(folder) if is_local(folder) else ():
        for name in names:
            try:
                require_file(f"{place}/{name}")
            except OSError as error:
                raise UserError(f"{explain(error)}.") from error


def remove_folder(folder: epath.Path) -> None:
    """Deletes a folder with all that is in it, where it is there; of a link to one the link alone.

    On a disk a kill leaves no part of it under its name, but it may leave one beside (`remove_left`).
    """
    if is_local(folder) and os.path.islink(folder):
        os.unlink(folder)
    elif is_local(folder):
        take_away(folder)
        remove_left(folder)
    elif folder.exists():
        folder.rmtree()


def take_away(folder: epath.Path) -> None:
    """The first half of `remove_folder`, in one step: nothing lies under its name; on a disk only."""
    if is_local(folder) and folder.exists():
        remove_left(folder)
        folder.rename(_beside(folder))


def is_left(folder: epath.Path) -> bool:
    """Whether a folder was taken away, and a kill came before the second half."""
    return is_local(folder) and _beside(folder).exists()


def remove_left(folder: epath.Path) -> None:
    """The second half of `remove_folder`: deletes what was taken away."""
    if is_left(folder):
        _beside(folder).rmtree()


def _beside(folder: epath.Path) -> epath.Path:
    return folder.with_name(f".{folder.name}.deleted")


def require_plain_name(folder: epath.PathLike) -> None:
    """UserError for a folder in which Orbax saves no checkpoint whole: it takes the path for a pattern."""
    require(
        not glob.has_magic(os.fspath(folder)),
        f"{folder}: nothing can be trained in a folder with *, ? or [ in its path; give it another name.",
    )
    require_text_name(folder)


def require_text_name(folder: epath.PathLike) -> None:
    """UserError for a folder whose path is no text: what reads and writes checkpoints takes none such."""
    try:
        os.fspath(folder).encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"{folder}: no checkpoint can be read or written where a path is not UTF-8; give it another name."
        ) from error
