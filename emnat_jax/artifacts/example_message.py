"""The message class of `tf.train.Example`, without TensorFlow."""

import functools
from typing import Any


@functools.cache
def example_class() -> Any:
    """The message class of `tf.train.Example`, in a descriptor pool of our own.

    In the default pool it would clash with TensorFlow's, should the program import that too. The map of
    features is declared as what it is on the wire, a list of entries: a list keeps its order, so that equal
    rows are equal bytes whatever the version of protobuf.
    """
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="example.proto", package="tensorflow", syntax="proto3")
    kind = descriptor_pb2.FieldDescriptorProto
    scalars = {"BytesList": kind.TYPE_BYTES, "FloatList": kind.TYPE_FLOAT, "Int64List": kind.TYPE_INT64}
    for name, scalar in scalars.items():
        _add_field(file.message_type.add(name=name), "value", scalar, repeated=True)
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for name, message in (
        ("bytes_list", "BytesList"),
        ("float_list", "FloatList"),
        ("int64_list", "Int64List"),
    ):
        _add_field(feature, name, message).oneof_index = 0
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    _add_field(entry, "key", kind.TYPE_STRING)
    _add_field(entry, "value", "Feature")
    _add_field(features, "feature", "Features.FeatureEntry", repeated=True)
    _add_field(file.message_type.add(name="Example"), "features", "Features")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.Example"))


def _add_field(message: Any, name: str, kind: int | str, *, repeated: bool = False) -> Any:
    """The next field of a message: a scalar of type `kind`, or a message of ours that it names."""
    field = message.field.add(name=name, number=len(message.field) + 1)
    field.label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
    if isinstance(kind, str):
        field.type, field.type_name = field.TYPE_MESSAGE, f".tensorflow.{kind}"
    else:
        field.type = kind
    return field
