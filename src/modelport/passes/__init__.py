"""Transformations of a graph, one to a file; `pipelines` lists them in order."""

from modelport.passes.base import GraphPass
from modelport.registry import Registry

PASSES: Registry[GraphPass] = Registry(
    "pass",
    {
        "separate_initializers": "modelport.passes.library:SeparateInitializers",
        "infer_shapes": "modelport.passes.library:InferShapes",
        "lift_constants": "modelport.passes.library:LiftConstants",
        "fold_constants": "modelport.passes.fold_constants:FoldConstants",
        "remove_identities": "modelport.passes.remove_identities:RemoveIdentities",
        "split_sequences": "modelport.passes.split_sequences:SplitSequences",
        "fold_batchnorm": "modelport.passes.fold_batchnorm:FoldBatchNorm",
        "share_initializers": "modelport.passes.library:ShareInitializers",
        "remove_unused": "modelport.passes.library:RemoveUnused",
        "inline_functions": "modelport.passes.inline_functions:InlineFunctions",
    },
)
