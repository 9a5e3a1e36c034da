"""Recording: the operations that a function of tensors comes down to, as a graph that runs without it."""

from collections.abc import Callable

import torch
from torch import Tensor


def recorded(function: Callable, arguments: tuple[Tensor, ...]):
    """Return the graph module of a function for arguments of this layout, or None where it cannot be recorded.

    Its results are those of the function to the bit.
    """
    # Imported late: a second that short runs need not pay.
    from torch.fx.experimental.proxy_tensor import make_fx

    try:
        module = make_fx(lambda *a: function(*a))(*arguments)
    except Exception:  # what cannot be recorded is interpreted, as it was until now
        return None
    _simplify(module)
    module.recompile()
    return module


def same_record(one, other) -> bool:
    """Whether two records are the same operations on the same constants."""
    held = [{**dict(module.named_buffers()), **_tensors(module)} for module in (one, other)]
    if one.code != other.code or held[0].keys() != held[1].keys():
        return False
    return all(torch.equal(value, held[1][name]) for name, value in held[0].items())


def _tensors(module) -> dict[str, Tensor]:
    return {name: value for name, value in vars(module).items() if isinstance(value, Tensor)}


def _simplify(module) -> None:
    """Compute once what follows from constants and shapes alone, and drop what nothing follows from.

    The seed of a derivative is a tensor of ones whose shape is all that it takes from the loss: with that known, the
    loss itself need not be computed. Multiplying by it changes no bit, and is left out.
    """
    graph = module.graph
    schemas = [node.target._schema for node in graph.nodes if hasattr(node.target, "_schema")]
    if any(schema.is_mutable for schema in schemas):
        # What is written into must be made anew at every call.
        return
    constants = {}
    for node in list(graph.nodes):
        if node.op == "get_attr" and isinstance(getattr(module, node.target, None), Tensor):
            constants[node] = getattr(module, node.target)
        elif node.op == "call_function" and node.target in _LIKE and "val" in node.meta:
            made = node.meta["val"]
            value = torch.empty_strided(made.shape, made.stride(), dtype=made.dtype, device=made.device)
            _put(graph, module, node, value.fill_(_LIKE[node.target]), constants)
        elif node.op == "call_function" and _all_constant(node, constants):
            arguments = torch.fx.node.map_arg((node.args, node.kwargs), constants.__getitem__)
            value = node.target(*arguments[0], **arguments[1])
            if isinstance(value, Tensor):
                _put(graph, module, node, value, constants)
        elif node.target is torch.ops.aten.mul.Tensor:
            for one, other in (node.args, node.args[::-1]):
                ones = constants.get(one)
                if ones is not None and _is_ones_of(ones, other, node):
                    node.replace_all_uses_with(other)
                    graph.erase_node(node)
                    break
    graph.eliminate_dead_code()


# Tensors made of another's layout, type and device alone.
_LIKE = {torch.ops.aten.ones_like.default: 1, torch.ops.aten.zeros_like.default: 0}


def _put(graph, module, node, value: Tensor, constants: dict) -> None:
    """Replace a node by a constant."""
    name = f"_folded_{len(constants)}"
    module.register_buffer(name, value)
    with graph.inserting_before(node):
        folded = graph.get_attr(name)
    node.replace_all_uses_with(folded)
    graph.erase_node(node)
    constants[folded] = value


def _is_ones_of(ones: Tensor, other, product) -> bool:
    """Whether a product with `ones` is the other factor itself, in type and layout too.

    Kernels may round otherwise where numbers do not lie side by side, so that the layout must not change either.
    """
    found, made = (getattr(node, "meta", {}).get("val") for node in (other, product))
    if found is None or made is None or not isinstance(found, Tensor):
        return False
    same = found.shape == made.shape and found.stride() == made.stride() and found.dtype == made.dtype
    return same and bool((ones == 1).all())


def _all_constant(node, constants: dict) -> bool:
    # Random numbers are drawn at every call, whatever they are drawn from.
    known = hasattr(node.target, "_schema") and torch.Tag.nondeterministic_seeded not in node.target.tags
    return known and all(one in constants for one in node.all_input_nodes)
