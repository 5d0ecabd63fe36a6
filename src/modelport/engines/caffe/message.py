"""Caffe's messages, as far as they are written here.

Names, numbers and types are those of BVLC Caffe's `src/caffe/proto/caffe.proto`
(https://github.com/BVLC/caffe/blob/master/src/caffe/proto/caffe.proto), and for `permute_param` those of the
SSD branch (https://github.com/weiliu89/caffe/blob/ssd/src/caffe/proto/caffe.proto). A prototxt is the text
of a `NetParameter`, a caffemodel its bytes with the weights in.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_Field = descriptor_pb2.FieldDescriptorProto

_TYPES = {
    "float": _Field.TYPE_FLOAT,
    "int32": _Field.TYPE_INT32,
    "int64": _Field.TYPE_INT64,
    "uint32": _Field.TYPE_UINT32,
    "bool": _Field.TYPE_BOOL,
    "string": _Field.TYPE_STRING,
}

MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    "BlobShape": {"dim": (1, "int64*")},
    "BlobProto": {"data": (5, "float*"), "shape": (7, "BlobShape")},
    "InputParameter": {"shape": (1, "BlobShape*")},
    "ConcatParameter": {"axis": (2, "int32")},
    "ConvolutionParameter": {
        "num_output": (1, "uint32"),
        "bias_term": (2, "bool"),
        "pad": (3, "uint32*"),
        "kernel_size": (4, "uint32*"),
        "group": (5, "uint32"),
        "stride": (6, "uint32*"),
        "pad_h": (9, "uint32"),
        "pad_w": (10, "uint32"),
        "kernel_h": (11, "uint32"),
        "kernel_w": (12, "uint32"),
        "stride_h": (13, "uint32"),
        "stride_w": (14, "uint32"),
        "dilation": (18, "uint32*"),
    },
    "EltwiseParameter": {"operation": (1, "EltwiseOp"), "coeff": (2, "float*")},
    "ELUParameter": {"alpha": (1, "float")},
    "FlattenParameter": {"axis": (1, "int32")},
    "InnerProductParameter": {
        "num_output": (1, "uint32"),
        "bias_term": (2, "bool"),
        "axis": (5, "int32"),
    },
    "LRNParameter": {
        "local_size": (1, "uint32"),
        "alpha": (2, "float"),
        "beta": (3, "float"),
    },
    "PermuteParameter": {"order": (1, "uint32*")},
    "PoolingParameter": {
        "pool": (1, "PoolMethod"),
        "pad_h": (9, "uint32"),
        "pad_w": (10, "uint32"),
        "kernel_h": (5, "uint32"),
        "kernel_w": (6, "uint32"),
        "stride_h": (7, "uint32"),
        "stride_w": (8, "uint32"),
        "global_pooling": (12, "bool"),
    },
    "PowerParameter": {"power": (1, "float"), "scale": (2, "float"), "shift": (3, "float")},
    "PReLUParameter": {"channel_shared": (2, "bool")},
    "ReLUParameter": {"negative_slope": (1, "float")},
    "ReshapeParameter": {"shape": (1, "BlobShape")},
    "ScaleParameter": {"axis": (1, "int32"), "num_axes": (2, "int32"), "bias_term": (4, "bool")},
    "SliceParameter": {"slice_point": (2, "uint32*"), "axis": (3, "int32")},
    "SoftmaxParameter": {"axis": (2, "int32")},
    "LayerParameter": {
        "name": (1, "string"),
        "type": (2, "string"),
        "bottom": (3, "string*"),
        "top": (4, "string*"),
        "blobs": (7, "BlobProto*"),
        "concat_param": (104, "ConcatParameter"),
        "convolution_param": (106, "ConvolutionParameter"),
        "eltwise_param": (110, "EltwiseParameter"),
        "elu_param": (140, "ELUParameter"),
        "flatten_param": (135, "FlattenParameter"),
        "inner_product_param": (117, "InnerProductParameter"),
        "input_param": (143, "InputParameter"),
        "lrn_param": (118, "LRNParameter"),
        "permute_param": (202, "PermuteParameter"),
        "pooling_param": (121, "PoolingParameter"),
        "power_param": (122, "PowerParameter"),
        "prelu_param": (131, "PReLUParameter"),
        "relu_param": (123, "ReLUParameter"),
        "reshape_param": (133, "ReshapeParameter"),
        "scale_param": (142, "ScaleParameter"),
        "slice_param": (126, "SliceParameter"),
        "softmax_param": (125, "SoftmaxParameter"),
    },
    "NetParameter": {"name": (1, "string"), "layer": (100, "LayerParameter*")},
}
"""Fields of each message, with number and type; a star where there may be many."""

ENUMS = {
    "EltwiseOp": ("PROD", "SUM", "MAX"),
    "PoolMethod": ("MAX", "AVE"),
}

_PACKAGE = "modelport.caffe"


@cache
def net_parameter() -> Any:
    """The class of `NetParameter`."""
    pool = descriptor_pool.DescriptorPool()
    pool.Add(_file())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.NetParameter"))


def _file() -> Any:
    file = descriptor_pb2.FileDescriptorProto(
        name="modelport/caffe.proto", package=_PACKAGE, syntax="proto2"
    )
    for name, values in ENUMS.items():
        # Values of an enum share the scope that it stands in, so each has a message around it.
        owner = file.message_type.add(name=f"{name}Values")
        made = owner.enum_type.add(name=name)
        for number, value in enumerate(values):
            made.value.add(name=value, number=number)
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            _add_field(message, field, number, kind)
    return file


def _add_field(message: Any, name: str, number: int, kind: str) -> None:
    plain = kind.rstrip("*")
    field = message.field.add(name=name, number=number)
    field.label = _Field.LABEL_REPEATED if kind != plain else _Field.LABEL_OPTIONAL
    if plain in _TYPES:
        field.type = _TYPES[plain]
    elif plain in ENUMS:
        field.type, field.type_name = _Field.TYPE_ENUM, f".{_PACKAGE}.{plain}Values.{plain}"
    else:
        field.type, field.type_name = _Field.TYPE_MESSAGE, f".{_PACKAGE}.{plain}"
    if message.name in ("BlobShape", "BlobProto") and plain in _TYPES:
        field.options.packed = True  # as caffe.proto says of these alone
