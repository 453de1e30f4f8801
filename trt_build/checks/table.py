"""What TensorRT takes: ONNX operators, types and limits, the same on all versions from 10.3 to 11.

Sources: the support matrix of NVIDIA's ONNX parser (onnx-tensorrt, docs/operators.md, of 10.1) and its importers, the
documentation of TensorRT's layers, and the parser itself: the tests hold every entry against it. Some limits are
narrower than the newest parser's: an older version refuses what they exclude, or one takes it and computes something
else.
"""

from __future__ import annotations

from trt_build.checks.limits import (
    ANY,
    BOOLS,
    EVALUATES,
    FLOATS,
    INT8,
    NO_DILATION,
    NUMBERS,
    ONE_OUTPUT,
    QUANTIZES,
    SMALL_K,
    WHOLE_OR_FMOD,
    Operator,
    attribute_is,
    has_axes,
    is_constant,
)

# Below 13 the axes of Squeeze and ReduceSum are attributes. From 20 on GridSample's modes have new names, which a
# parser that does not know them reads as "nearest" without a word.
OPSETS = range(13, 20)
LARGEST_RANK = 8


def _each(names: str, operator: Operator) -> dict[str, Operator]:
    return dict.fromkeys(names.split(), operator)


TABLE: dict[str, Operator] = {
    **_each("Ceil Elu Erf Exp Floor HardSigmoid HardSwish LeakyRelu Log LogSoftmax Pow", Operator(FLOATS)),
    **_each("PRelu Reciprocal Round Sigmoid Softmax Softplus Sqrt Tanh", Operator(FLOATS)),
    **_each("Abs Add ArgMax ArgMin Clip Div Max Min Mul Neg Relu Sub Sum", Operator(NUMBERS)),
    **_each("Equal Greater GreaterOrEqual Less LessOrEqual", Operator(NUMBERS)),
    **_each("And Not Or Xor", Operator(BOOLS)),
    **_each("Cast Concat Expand Flatten Gather GatherElements GatherND Identity", Operator(ANY)),
    **_each("Reshape Shape Size Split Transpose", Operator(ANY)),
    **_each("Slice", Operator(ANY, (is_constant(3, "axes"),))),
    **_each("Squeeze Unsqueeze", Operator(ANY, (is_constant(1, "axes"),))),
    **_each("Tile", Operator(ANY, (is_constant(1, "repeats"),))),
    **_each("Trilu", Operator(ANY, (is_constant(1, "diagonal"),))),
    **_each("ReduceMax ReduceMean ReduceMin ReduceSum", Operator(NUMBERS, (is_constant(1, "axes"),))),
    **_each("GlobalAveragePool GlobalMaxPool InstanceNormalization MatMul", Operator(FLOATS)),
    **_each("Conv ConvTranspose", Operator(FLOATS, (has_axes(3, 4, 5),))),
    **_each("DepthToSpace SpaceToDepth", Operator(NUMBERS, (has_axes(4),))),
    "AveragePool": Operator(FLOATS, (has_axes(4, 5), NO_DILATION)),
    "BatchNormalization": Operator(FLOATS, (EVALUATES,)),
    "Constant": Operator(ANY | INT8, typed=None),
    "ConstantOfShape": Operator(ANY, typed=None),
    "DequantizeLinear": Operator(INT8, QUANTIZES),
    "Gemm": Operator(FLOATS, (has_axes(2),)),
    "GridSample": Operator(
        FLOATS,
        (has_axes(4), attribute_is("mode", ("bilinear", "nearest", "bicubic"), "no such mode", "use bilinear")),
    ),
    "LayerNormalization": Operator(FLOATS, (ONE_OUTPUT,)),
    "MaxPool": Operator(FLOATS, (has_axes(4, 5), NO_DILATION, ONE_OUTPUT)),
    "Mod": Operator(NUMBERS, (WHOLE_OR_FMOD,)),
    "Pad": Operator(
        NUMBERS,
        (
            attribute_is(
                "mode", ("constant", "reflect", "edge"), "TensorRT has no such mode", "use constant or edge"
            ),
            is_constant(1, "padding"),
            is_constant(3, "axes"),
        ),
    ),
    "QuantizeLinear": Operator(FLOATS, QUANTIZES),
    "Resize": Operator(
        FLOATS,
        (
            attribute_is("mode", ("nearest", "linear"), "not all TensorRT have this mode", "use nearest or linear"),
            attribute_is(
                "coordinate_transformation_mode",
                ("half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners"),
                "TensorRT has no such coordinates",
                "resize as torch.nn.functional.interpolate does",
            ),
            attribute_is("antialias", (0,), "TensorRT does not smooth", "resize without antialias"),
            attribute_is("keep_aspect_ratio_policy", ("stretch",), "TensorRT stretches", "give the size itself"),
        ),
    ),
    "TopK": Operator(
        NUMBERS,
        (SMALL_K, attribute_is("sorted", (1,), "TensorRT always sorts its answer", "ask for a sorted answer")),
    ),
    "Where": Operator(ANY, typed=1),
}


def _refused(names: str, reason: str, cure: str) -> dict[str, tuple[str, str]]:
    return dict.fromkeys(names.split(), (reason, cure))


# Operators that a network might well have: why not, and what to do instead.
REFUSED: dict[str, tuple[str, str]] = {
    **_refused(
        "NonMaxSuppression NonZero Unique Compress",
        "how much it gives depends on the frame, and buffers here have fixed sizes",
        "write it in fixed shapes, as training.models.boxes.suppress does",
    ),
    **_refused("If Loop Scan", "what branches or loops cannot become one CUDA graph", "unroll it in PyTorch"),
    **_refused("LSTM GRU RNN", "what branches or loops cannot become one CUDA graph", "use convolutions"),
    **_refused(
        "QLinearConv QLinearMatMul ConvInteger MatMulInteger DynamicQuantizeLinear",
        "TensorRT reads INT8 as pairs of QuantizeLinear and DequantizeLinear",
        "quantize with tapetum-build quantize",
    ),
    **_refused(
        "RandomNormal RandomNormalLike RandomUniform RandomUniformLike Bernoulli Multinomial",
        "its answer would not repeat",
        "export in evaluation mode",
    ),
    **_refused(
        "SequenceConstruct SequenceEmpty SequenceAt SequenceInsert SplitToSequence Optional",
        "TensorRT knows tensors alone",
        "return tensors",
    ),
    **_refused("Dropout", "it is for training alone", "export in evaluation mode"),
    **_refused("ScatterND ScatterElements", "where indices repeat its answer is not defined", "use Where"),
    **_refused("MaxRoiPool", "TensorRT has no such layer", "use training.models.boxes.roi_align"),
    **_refused("MaxUnpool", "TensorRT has no such layer", "use Resize"),
    **_refused(
        "RoiAlign",
        "it is a plugin that not every TensorRT has",
        "use training.models.boxes.roi_align (GridSample)",
    ),
    **_refused("DeformConv", "it is a plugin that not every TensorRT has", "use a plain convolution"),
}
UNKNOWN = (
    "not among the operators that TensorRT 10.3 to 11 are known to take",
    "use others: trt_build/checks/table.py has the list",
)
