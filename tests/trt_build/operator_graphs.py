"""Small graphs in ONNX's textual syntax: one for each operator that TensorRT takes, and one for each limit it has."""

from __future__ import annotations

from typing import Any

import onnx
import onnx.parser

PICTURE = "float[1,4,8,8] x"
MATRIX = "float[2,8] x"


def graph_of(inputs: str, constants: str, nodes: str, opset: int = 17) -> onnx.ModelProto:
    """A graph that gives y; its type is inferred."""
    text = f'<ir_version: 8, opset_import: ["" : {opset}]> g ({inputs}) => (y) <{constants}> {{ {nodes} }}'
    model = onnx.parser.parse_model(text)
    y = {value.name: value for value in onnx.shape_inference.infer_shapes(model).graph.output}["y"]
    model.graph.output[0].CopyFrom(y)
    return model


def _each(names: str, inputs: str, constants: str, nodes: str) -> dict[str, tuple[str, str, str]]:
    return {name: (inputs, constants, nodes.replace("{}", name)) for name in names.split()}


# Every operator of the table in a graph of its own, in ONNX's textual syntax: {inputs} <constants> {nodes giving y}.
TAKEN: dict[str, tuple[str, str, str]] = {
    **_each(
        "Abs Ceil Elu Erf Exp Floor HardSigmoid HardSwish LeakyRelu Log LogSoftmax Neg", PICTURE, "", "y = {} (x)"
    ),
    **_each("Reciprocal Relu Round Sigmoid Softmax Softplus Sqrt Tanh", PICTURE, "", "y = {} (x)"),
    **_each("Flatten Identity GlobalAveragePool GlobalMaxPool", PICTURE, "", "y = {} (x)"),
    **_each("Add Div Max Min Mul Pow Sub Sum", PICTURE, "float c = {2.0}", "y = {} (x, c)"),
    **_each(
        "Equal Greater GreaterOrEqual Less LessOrEqual",
        PICTURE,
        "float c = {2.0}",
        "b = {} (x, c) y = Cast <to = 1> (b)",
    ),
    **_each("And Or Xor", PICTURE, "float c = {2.0}", "a = Less (x, c) b = {} (a, a) y = Cast <to = 1> (b)"),
    **_each("ReduceMax ReduceMean ReduceMin", PICTURE, "", "y = {} <axes = [2, 3]> (x)"),
    "ArgMax": (PICTURE, "", "i = ArgMax <axis = 1> (x) y = Cast <to = 1> (i)"),
    "ArgMin": (PICTURE, "", "i = ArgMin <axis = 1> (x) y = Cast <to = 1> (i)"),
    "AveragePool": (PICTURE, "", "y = AveragePool <kernel_shape = [2, 2], strides = [2, 2]> (x)"),
    "BatchNormalization": (
        PICTURE,
        "float[4] s = {1.0, 1.0, 1.0, 1.0}",
        "y = BatchNormalization (x, s, s, s, s)",
    ),
    "Cast": (PICTURE, "", "h = Cast <to = 10> (x) y = Cast <to = 1> (h)"),
    "Clip": (PICTURE, "float low = {0.0}, float high = {6.0}", "y = Clip (x, low, high)"),
    "Concat": (PICTURE, "", "y = Concat <axis = 1> (x, x)"),
    "Constant": (PICTURE, "", "c = Constant <value_float = 2.0> () y = Add (x, c)"),
    "ConstantOfShape": (PICTURE, "int64[1] n = {8}", "c = ConstantOfShape (n) y = Add (x, c)"),
    "Conv": (PICTURE, "float[2,4,1,1] w = {1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0}", "y = Conv (x, w)"),
    "ConvTranspose": (
        PICTURE,
        "float[4,1,2,2] w = {1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0}",
        "y = ConvTranspose <strides = [2, 2]> (x, w)",
    ),
    "DepthToSpace": (PICTURE, "", "y = DepthToSpace <blocksize = 2> (x)"),
    "SpaceToDepth": (PICTURE, "", "y = SpaceToDepth <blocksize = 2> (x)"),
    "Expand": ("float[1,4,1,8] x", "int64[4] n = {1, 4, 8, 8}", "y = Expand (x, n)"),
    "Gather": (PICTURE, "int64[2] i = {0, 1}", "y = Gather <axis = 1> (x, i)"),
    "GatherElements": (MATRIX, "int64[1,2] i = {0, 1}", "y = GatherElements <axis = 1> (x, i)"),
    "GatherND": (MATRIX, "int64[1,2] i = {0, 1}", "y = GatherND (x, i)"),
    "Gemm": (MATRIX, "float[8,1] w = {1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0}", "y = Gemm (x, w)"),
    "GridSample": (f"{PICTURE}, float[1,3,3,2] g", "", "y = GridSample (x, g)"),
    "InstanceNormalization": (PICTURE, "float[4] s = {1.0, 1.0, 1.0, 1.0}", "y = InstanceNormalization (x, s, s)"),
    "LayerNormalization": (
        MATRIX,
        "float[8] s = {1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0}",
        "y = LayerNormalization (x, s)",
    ),
    "MatMul": (f"{MATRIX}, float[8,3] z", "", "y = MatMul (x, z)"),
    "MaxPool": (PICTURE, "", "y = MaxPool <kernel_shape = [2, 2], strides = [2, 2], ceil_mode = 1> (x)"),
    "Mod": (PICTURE, "float c = {2.0}", "y = Mod <fmod = 1> (x, c)"),
    "Not": (PICTURE, "float c = {2.0}", "a = Less (x, c) b = Not (a) y = Cast <to = 1> (b)"),
    "PRelu": (PICTURE, "float[1] c = {0.2}", "y = PRelu (x, c)"),
    "Pad": (PICTURE, "int64[8] n = {0, 0, 1, 1, 0, 0, 1, 1}", "y = Pad (x, n)"),
    "QuantizeLinear": (
        PICTURE,
        "float s = {0.1}, int8 z = {0}",
        "q = QuantizeLinear (x, s, z) y = DequantizeLinear (q, s, z)",
    ),
    "ReduceSum": (PICTURE, "int64[2] axes = {2, 3}", "y = ReduceSum (x, axes)"),
    "Reshape": (PICTURE, "int64[2] n = {4, -1}", "y = Reshape (x, n)"),
    "Resize": (
        PICTURE,
        "float[4] scales = {1.0, 1.0, 2.0, 2.0}",
        'y = Resize <mode = "linear", coordinate_transformation_mode = "half_pixel"> (x, , scales)',
    ),
    "Shape": (PICTURE, "", "n = Shape (x) y = Reshape (x, n)"),
    "Size": (PICTURE, "", "n = Size (x) m = Cast <to = 1> (n) y = Mul (x, m)"),
    "Slice": (PICTURE, "int64[1] a = {1}, int64[1] b = {3}, int64[1] axes = {2}", "y = Slice (x, a, b, axes)"),
    "Split": (PICTURE, "int64[2] n = {1, 3}", "y, z = Split <axis = 1> (x, n)"),
    "Squeeze": (PICTURE, "int64[1] axes = {0}", "y = Squeeze (x, axes)"),
    "Unsqueeze": (PICTURE, "int64[1] axes = {0}", "y = Unsqueeze (x, axes)"),
    "Tile": (PICTURE, "int64[4] n = {1, 1, 2, 2}", "y = Tile (x, n)"),
    "TopK": (MATRIX, "int64[1] k = {3}", "y, i = TopK (x, k)"),
    "Transpose": (PICTURE, "", "y = Transpose <perm = [0, 2, 3, 1]> (x)"),
    "Trilu": (MATRIX, "int64 k = {1}", "y = Trilu (x, k)"),
    "Where": (PICTURE, "float c = {2.0}", "b = Less (x, c) y = Where (b, x, c)"),
}
TAKEN["DequantizeLinear"] = TAKEN["QuantizeLinear"]

# Who else refuses a graph that breaks a limit: the newest parser, the newest builder, or nobody: then an older
# version does, or the answer would be another than ONNX's, or the graph could not be a bundle's.
PARSER, BUILDER, NOBODY = "parser", "builder", "nobody"
EIGHT = ", ".join(["1.0"] * 8)
QUANTIZE = "q = QuantizeLinear (x, s, z) y = DequantizeLinear (q, s, z)"
DOUBLED = "float[4] s = {1.0, 1.0, 2.0, 2.0}"
BROKEN: dict[str, tuple[tuple[Any, ...], str, str]] = {
    "a long top k": (("float[1,5000] x", "int64[1] k = {3841}", "y, i = TopK (x, k)"), "top 3840 at most", BUILDER),
    "an unsorted top k": ((MATRIX, "int64[1] k = {3}", "y, i = TopK <sorted = 0> (x, k)"), "always sorts", NOBODY),
    "pooling with dilation": (
        (PICTURE, "", "y = MaxPool <kernel_shape = [2, 2], dilations = [2, 2]> (x)"),
        "no dilation",
        PARSER,
    ),
    "pooling with indices": ((PICTURE, "", "y, i = MaxPool <kernel_shape = [2, 2]> (x)"), "first output", PARSER),
    "pooling of a line": (("float[1,4,8] x", "", "y = MaxPool <kernel_shape = [2]> (x)"), "4 or 5 axes", NOBODY),
    "a norm that learns": (
        (
            PICTURE,
            "float[4] s = {1.0, 1.0, 1.0, 1.0}",
            "y, m, v = BatchNormalization <training_mode = 1> (x, s, s, s, s)",
        ),
        "learn while it runs",
        PARSER,
    ),
    "statistics of a norm": (
        (MATRIX, f"float[8] s = {{{EIGHT}}}", "y, m, v = LayerNormalization (x, s)"),
        "first output",
        PARSER,
    ),
    "the remainder of floats": ((PICTURE, "float c = {2.0}", "y = Mod (x, c)"), "fmod", PARSER),
    "padding that wraps": (
        (PICTURE, "int64[8] n = {0, 0, 1, 1, 0, 0, 1, 1}", 'y = Pad <mode = "wrap"> (x, n)', 19),
        "no such mode",
        NOBODY,
    ),
    "padding from outside": ((f"{PICTURE}, int64[8] n", "", "y = Pad (x, n)"), "padding must be constant", BUILDER),
    "axes from outside": (
        (f"{PICTURE}, int64[1] axes", "int64[1] a = {1}, int64[1] b = {3}", "y = Slice (x, a, b, axes)"),
        "axes must be constant",
        BUILDER,
    ),
    "a cubic resize": ((PICTURE, DOUBLED, 'y = Resize <mode = "cubic"> (x, , s)'), "not all TensorRT", NOBODY),
    "a resize that crops": (
        (
            PICTURE,
            f"float[8] r = {{{EIGHT}}}, {DOUBLED}",
            'y = Resize <mode = "linear", coordinate_transformation_mode = "tf_crop_and_resize"> (x, r, s)',
        ),
        "no such coordinates",
        PARSER,
    ),
    "a resize that smooths": (
        (PICTURE, DOUBLED, 'y = Resize <mode = "linear", antialias = 1> (x, , s)', 19),
        "does not smooth",
        PARSER,
    ),
    "a resize that keeps the aspect": (
        (
            PICTURE,
            "int64[4] n = {1, 4, 16, 24}",
            'y = Resize <mode = "linear", keep_aspect_ratio_policy = "not_larger"> (x, , , n)',
            19,
        ),
        "stretches",
        PARSER,
    ),
    "samples in space": (
        ("float[1,4,8,8,8] x, float[1,3,3,3,3] g", "", "y = GridSample (x, g)"),
        "tensors of 4 axes",
        NOBODY,  # ONNX has it from opset 20 on
    ),
    "a zero point": ((PICTURE, "float s = {0.1}, int8 z = {3}", QUANTIZE), "zero point of 0", PARSER),
    "no zero point, which means uint8": (
        (PICTURE, "float s = {0.1}", "q = QuantizeLinear (x, s) y = DequantizeLinear (q, s)"),
        "zero point of 0",
        NOBODY,
    ),
    "quantizing to uint8": (
        (PICTURE, "float s = {0.1}, uint8 z = {0}", QUANTIZE),
        "z: .*not compute in uint8",
        NOBODY,
    ),
    "a negative scale": ((PICTURE, "float s = {-0.1}, int8 z = {0}", QUANTIZE), "positive constant", PARSER),
    "half scales in opset 17": (
        (PICTURE, "float16 s = {1}, int8 z = {0}", f"h = Cast <to = 10> (x) {QUANTIZE.replace('(x', '(h')}"),
        "float16 need opset 19",
        NOBODY,
    ),
    "doubles": (
        (PICTURE, "", "d = Cast <to = 11> (x) m = Exp (d) y = Cast <to = 1> (m)"),
        r"d \(Cast\): .*not compute in float64",
        NOBODY,
    ),
    "a double constant": ((PICTURE, "double c = {2.0}", "y = Pow (x, c)"), "c: .*not compute in float64", NOBODY),
    "bytes in between": ((PICTURE, "", "b = Cast <to = 2> (x) y = Cast <to = 1> (b)"), "compute in uint8", PARSER),
    "whole numbers multiplied": (
        ("int64[2,8] x, int64[8,2] z", "", "m = MatMul (x, z) y = Cast <to = 1> (m)"),
        "does not take int64",
        PARSER,
    ),
    "bytes from outside": (("uint8[1,4,8,8] x", "", "y = Cast <to = 1> (x)"), "input x: it is uint8", NOBODY),
    "nine axes": (
        ("float[1,1,1,1,1,1,1,2] x", "int64[1] a = {0}", "u = Unsqueeze (x, a) y = Squeeze (u, a)"),
        "9 axes",
        PARSER,
    ),
    "a shape from outside": (
        ("float[1,4] x, int64[2] n", "", "y = Reshape (x, n)"),
        r"y \(Reshape\): the shape of its output is not fixed",
        BUILDER,
    ),
    "an old opset": ((PICTURE, "", "y = Relu (x)", 12), "opset 12", NOBODY),
    "a new opset": ((PICTURE, "", "y = Relu (x)", 20), "opset 20", NOBODY),
    "NonZero": ((MATRIX, "", "i = NonZero (x) y = Cast <to = 1> (i)"), "depends on the frame", PARSER),
    "Compress": ((MATRIX, "bool[2] c = {1, 0}", "y = Compress <axis = 0> (x, c)"), "depends on the frame", PARSER),
    "NonMaxSuppression": (
        (
            "float[1,10,4] x, float[1,2,10] s",
            "int64 n = {5}, float t = {0.5}",
            "i = NonMaxSuppression (x, s, n, t) y = Cast <to = 1> (i)",
        ),
        "depends on the frame.*training.models.boxes.suppress",
        BUILDER,  # TensorRT for RTX; TensorRT itself has it
    ),
    "DynamicQuantizeLinear": (
        (PICTURE, "", "q, s, z = DynamicQuantizeLinear (x) y = DequantizeLinear (q, s, z)"),
        "quantize with tapetum-build quantize",
        PARSER,
    ),
    "MaxRoiPool": (
        (f"{PICTURE}, float[2,5] r", "", "y = MaxRoiPool <pooled_shape = [7, 7]> (x, r)"),
        "use training.models.boxes.roi_align",
        PARSER,
    ),
    "RoiAlign": (
        (f"{PICTURE}, float[2,4] r", "int64[2] i = {0, 0}", "y = RoiAlign <sampling_ratio = 2> (x, r, i)"),
        r"use training.models.boxes.roi_align \(GridSample\)",
        PARSER,
    ),
    "a random number": ((MATRIX, "", "r = RandomNormalLike (x) y = Add (x, r)"), "would not repeat", NOBODY),
    "an operator that nobody tried": ((MATRIX, "", "y = Sin (x)"), "not among the operators", NOBODY),
}
