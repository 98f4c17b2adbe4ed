"""CLIP's tokenizer from the vocabulary that we ship."""

from autofix.engines.checkpoints.clip import tokenizer


def test_the_shipped_vocabulary_is_clip_s():
    ours = tokenizer()
    ids = ours("a photo of a cat").input_ids
    assert ids == [49406, 320, 1125, 539, 320, 2368, 49407]
    assert (len(ours), ours.model_max_length, ours.pad_token_id) == (49408, 77, 49407)
    assert tokenizer(pad="!").pad_token_id == 0
    assert ours("photograph, 8k").input_ids[1:-1] == [8853, 267, 279, 330]
    assert ours.decode(ours("naïve café — 猫").input_ids[1:-1]) == "naïve café — 猫"
