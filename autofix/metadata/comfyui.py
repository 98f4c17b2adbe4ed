"""The prompts in a ComfyUI graph, followed back from the sampler that began the picture.

sd-parsers reads such graphs too, but needs the editor's workflow beside it, knows no guider nodes
(Flux), and behind a node that passes both conditionings on (ControlNet) takes the negative prompt
for a part of the positive one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from autofix.metadata.infotext import GenerationText

Node = Mapping[str, Any]

_SEEDS = ("seed", "noise_seed", "value", "int")
_MODELS = ("ckpt_name", "unet_name", "model_name", "base_ckpt_name")
_WRITTEN = re.compile(
    r"(populated_)?(text|string|prompt|value|t5xxl|clip_[lg])(_\w{1,2}|\d)?|(positive|negative)"
)
_ASIDE = re.compile(r"clip|.*(model|vae|image|mask|control_net|latent|samples|noise|sigmas).*")
_BLANK = "ConditioningZeroOut"


def read_graph(texts: Mapping[str, str]) -> GenerationText | None:
    """The prompts, seed and model of the graph under "prompt", or None where there is none.

    Of several samplers it is the first that starts from a latent picture: those of detailers start
    from pixels. May raise LookupError, TypeError, ValueError, AttributeError or
    RecursionError for a broken graph.
    """
    nodes = json.loads(texts["prompt"]).items()
    graph = _Graph({str(key): node for key, node in nodes if isinstance(node["inputs"], dict)})
    found = [graph.read_sampler(node) for node in graph.list_samplers()]
    return next((text for text in found if text.prompt), None)


class _Graph:
    def __init__(self, nodes: Mapping[str, Node]) -> None:
        self.nodes = nodes

    def list_samplers(self) -> list[Node]:
        """The samplers that could have begun the picture, the likeliest first."""
        nodes = [node for node in self.nodes.values() if self._is_sampler(node["inputs"])]
        return sorted(nodes, key=lambda node: "latent_image" not in node["inputs"])

    def read_sampler(self, sampler: Node) -> GenerationText:
        """The generation text at one sampler."""
        inputs = sampler["inputs"]
        guider = self._linked_node(inputs.get("guider"))
        given = {**(guider["inputs"] if guider else {}), **inputs}
        positive = given.get("positive", given.get("conditioning"))
        noise = self._linked_node(inputs.get("noise"))
        return GenerationText(
            prompt=self._node_text(positive, "positive"),
            negative_prompt=self._node_text(given.get("negative"), "negative"),
            seed=self._node_seed(noise or sampler),
            model=self._model_name(given.get("model")),
        )

    def _is_sampler(self, inputs: Mapping[str, Any]) -> bool:
        return "guider" in inputs or ("positive" in inputs and any(key in inputs for key in _SEEDS))

    def _linked_node(self, value: object) -> Node | None:
        """The node that an input is linked to; None for a plain value."""
        if isinstance(value, list) and len(value) == 2:
            return self.nodes.get(str(value[0]))
        return None

    def _node_text(self, value: object, role: str) -> str:
        """All texts that lead to an input, each once, in order."""
        return ", ".join(dict.fromkeys(self._node_texts(value, role, set())))

    def _node_texts(self, value: object, role: str, seen: set[int]) -> Iterator[str]:
        if isinstance(value, str) and value.strip():
            yield value.strip()
        node = self._linked_node(value)
        if node is None or id(node) in seen or node.get("class_type") == _BLANK:
            return
        seen.add(id(node))
        inputs = node["inputs"]
        other = "negative" if role == "positive" else "positive"
        written = {
            key: each for key, each in inputs.items() if _WRITTEN.fullmatch(key) and key != other
        }
        if "populated_text" in written:  # a wildcard node's result, beside its template
            written = {"populated_text": written["populated_text"]}
        followed = written or {k: v for k, v in inputs.items() if not _ASIDE.fullmatch(k)}
        for key, each in followed.items():
            if key in written or isinstance(each, list):
                yield from self._node_texts(each, role, seen)

    def _node_seed(self, node: Node) -> int | None:
        for _ in range(len(self.nodes) + 1):
            value = next((node["inputs"][key] for key in _SEEDS if key in node["inputs"]), None)
            following = self._linked_node(value)
            if following is None:
                return int(value) if isinstance(value, int | float) else None
            node = following
        return None

    def _model_name(self, value: object) -> str:
        for _ in range(len(self.nodes) + 1):
            node = self._linked_node(value)
            if node is None:
                break
            inputs = node["inputs"]
            for key in _MODELS:
                if isinstance(inputs.get(key), str):
                    return str(inputs[key])
            value = inputs.get("model")
        return ""
