"""An exported teacher under CTranslate2 (placeholder for the merge)."""


def open_ctranslate2(exported, precision=None, threads=0):
    raise NotImplementedError
