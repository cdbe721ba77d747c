"""Makes `tests/golden/side-files.json`: token ids of small tokenizers of which files beside tokenizer.json tell a part.

Made with Python 3.11, transformers 5.24.0, tokenizers 0.23.3, jinja2 3.1:

    pip install transformers==5.24.0 jinja2
    python tests/golden/side_files.py

`tokenizer` is a byte-level tokenizer.json in which `<|im_start|>`, `<|im_end|>` and `he` stand in the vocabulary alone; `<n>` and
`<m>` stand nowhere. A case names the files beside it, what `replaces` of tokenizer.json's keys (those of `model` one by one), and
the class that AutoTokenizer took. `ids` are with special tokens, `bare` without, `chat` is `rendered` by `template` from `messages`
and tokenised by `apply_chat_template`. `refused` are folders that transformers does not load, with its error.
"""

import json
import os
import pathlib
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"

import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

transformers.logging.set_verbosity_error()
HERE = pathlib.Path(__file__).parent
CONFIG, MAP, ADDED = "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"
START, END = "<|im_start|>", "<|im_end|>"
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MESSAGES = [{"role": "user", "content": "Is he <n> fair?"}, {"role": "assistant", "content": "he he"}, {"role": "user", "content": "Why?"}]
TEXTS = ["he is</s> here", "<|im_start|>  he\n <|im_end|> \nhe", "a <n> b<n>  <m>c", "<s>the he<pad>", ""]


def base():
    pieces = ["<s>", "</s>", "<pad>", *sorted(pre_tokenizers.ByteLevel.alphabet()), START, END, "▁", "he", "▁he"]
    tok = Tokenizer(models.BPE(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[("h", "e"), ("▁", "he")]))
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    tok.add_special_tokens([AddedToken(piece, special=True, normalized=False) for piece in pieces[:3]])
    tok.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return json.loads(tok.to_str())


BASE = base()


def token(content, **flags):
    return {"content": content, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True, **flags}


def typed(content, **flags):
    return {"__type": "AddedToken", **token(content, **flags)}


def config(name="PreTrainedTokenizerFast", **keys):
    return {CONFIG: {"tokenizer_class": name, **keys}}


def more(*tokens):
    return {"added_tokens": [*BASE["added_tokens"], *tokens]}


def after(processor):
    return {"post_processor": json.loads(processor.__getstate__())}


def decoder(tokens):
    return {"added_tokens_decoder": tokens}


BOTH = processors.TemplateProcessing(single="<s> <pad> $A </s>", special_tokens=[("<s>", 0), ("<pad>", 2), ("</s>", 1)])
BERT = processors.BertProcessing(("</s>", 1), ("<s>", 0))
METASPACE = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": False}
SPACED = {"pre_tokenizer": METASPACE, "decoder": METASPACE, **more({"id": 301, **token("<n>")}, {"id": 259, **token(START)})}
PLAIN = {"id": 260, **token(END, special=False, normalized=True)}
PADDING = {"strategy": "BatchLongest", "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0, "pad_token": "<n>"}

CASES = [
    ("nothing-beside", {}, {}),
    ("class-alone", config(), {}),
    ("decoder-beyond-vocabulary", config(**decoder({"300": token("<n>"), "299": token("<m>")})), {}),
    ("decoder-in-vocabulary", config(**decoder({"259": token(START), "260": token(END)})), {}),
    ("decoder-ids-not-honoured", config(**decoder({"5": token("<m>"), "1000": token("<n>"), "100": token(START)})), {}),
    ("decoder-short-entries", config(**decoder({"264": {"content": "<n>"}, "265": {"content": "<m>", "special": True}})), {}),
    ("decoder-flags-win-over-tokenizer", config(**decoder({"1": token("</s>", lstrip=True, rstrip=True)})), {}),
    ("decoder-not-special-named", config(eos_token="<n>", **decoder({"264": token("<n>", special=False, normalized=True)})), {}),
    ("decoder-single-word-and-strips", config(**decoder({"263": token("he", single_word=True), "259": token(START, rstrip=True), "260": token(END, lstrip=True)})), {}),
    ("decoder-normalized", config(**decoder({"264": token("<N>", normalized=True), "265": token("<M>")})), {"normalizer": {"type": "Lowercase"}}),
    ("decoder-empty-hides-other-files", {**config(**decoder({})), MAP: {"eos_token": "<n>"}, ADDED: {"<n>": 264}}, {}),
    ("additional", config(additional_special_tokens=[START, END, "<n>"]), {}),
    ("additional-loses-to-extra", config(additional_special_tokens=["<n>"], extra_special_tokens=[START]), {}),
    ("additional-beside-empty-extra", config(additional_special_tokens=["<n>"], extra_special_tokens=[]), {}),
    ("additional-beside-extra-dict", config(additional_special_tokens=["<n>"], extra_special_tokens={"image_token": "<m>"}), {}),
    ("extra-list", config(extra_special_tokens=["<m>", typed("<n>", rstrip=True, special=False), END]), {}),
    ("extra-dict", config(extra_special_tokens={"image_token": "<n>", "other": typed(START, rstrip=True)}), {}),
    ("model-specific", config(model_specific_special_tokens={"image_token": "<n>"}), {}),
    ("model-specific-replaced", config(model_specific_special_tokens={"image_token": "<n>"}, boi_token="<m>"), {}),
    ("named-strings", config(bos_token="<s>", eos_token=END, pad_token="<n>", unk_token="<m>", cls_token=None), {}),
    ("named-typed", config(bos_token=typed("<s>", rstrip=True), eos_token=typed("<n>", rstrip=True, normalized=True, special=False)), {}),
    ("named-typed-single-word", config(eos_token=typed("he", single_word=True), sep_token=typed(END, lstrip=True)), {}),
    ("named-twice-typed-last", config(eos_token="<n>", pad_token=typed("<n>", rstrip=True)), {}),
    ("named-twice-string-last", config(bos_token=typed("<n>", rstrip=True), pad_token="<n>"), {}),
    ("named-makes-special", config(eos_token=END, split_special_tokens=True), more(PLAIN)),
    ("named-stays-plain", config(eos_token=END, split_special_tokens=True, **decoder({})), more(PLAIN)),
    ("extra-stays-plain", config(extra_special_tokens=[END], split_special_tokens=True), more(PLAIN)),
    ("map-alone", {MAP: {"bos_token": "<s>", "eos_token": token("<n>", rstrip=True), "additional_special_tokens": [START, END]}}, {}),
    ("map-wins-over-config", {**config(eos_token="<m>", bos_token="<s>"), MAP: {"eos_token": "<n>", "bos_token": None}}, {}),
    ("map-flags-lose-to-tokenizer", {**config(), MAP: {"eos_token": token("</s>", rstrip=True)}}, {}),
    ("map-additional-loses-to-config", {**config(additional_special_tokens=["<m>"]), MAP: {"additional_special_tokens": ["<n>"]}}, {}),
    ("map-extra-joins-config", {**config(extra_special_tokens=["<m>"]), MAP: {"extra_special_tokens": ["<n>", "<m>"]}}, {}),
    ("added-alone", {ADDED: {"<n>": 265, "<m>": 264, START: 259}}, {}),
    ("added-and-named", {**config(eos_token=END), ADDED: {END: 260, "<n>": 300}}, {}),
    ("added-and-map-additional", {**config(split_special_tokens=True), MAP: {"additional_special_tokens": ["<n>"]}, ADDED: {"<n>": 264}}, {}),
    ("added-and-config-additional", {**config(split_special_tokens=True, additional_special_tokens=["<n>"]), ADDED: {"<n>": 264}}, {}),
    ("added-id-taken", {**config(), ADDED: {"<n>": 1, "<m>": 280}}, {}),
    ("added-renumbers", {**config(split_special_tokens=True), ADDED: {"</s>": 300}}, {"normalizer": {"type": "Lowercase"}}),
    ("split-special", config(split_special_tokens=True, **decoder({"264": token("<n>"), "265": token("<m>", special=False), "1": token("</s>", special=False)})), {}),
    ("tokenizer-ids-out-of-order", config(), more({"id": 301, **token("<n>")}, {"id": 290, **token("<m>")})),
    ("padding-names-pad", config(), {"padding": PADDING, "truncation": {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}}),
    ("dropout-one", config(), {"model": {"dropout": 1.0}}),
    ("dropout-zero", config(), {"model": {"dropout": 0.0}}),
    ("two-before", config(), after(BOTH)),
    ("bert", config(), after(BERT)),
    ("roberta", config(), after(processors.RobertaProcessing(("</s>", 1), ("<s>", 0), trim_offsets=False, add_prefix_space=False))),
    ("sequence-two-before", config(), after(processors.Sequence([processors.ByteLevel(trim_offsets=True), BOTH]))),
    ("sequence-nested", config(), after(processors.Sequence([BERT, processors.BertProcessing(("<pad>", 2), ("<pad>", 2))]))),
    ("sequence-second-template-as-pair", config(), after(processors.Sequence([processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)]), BOTH]))),
    ("add-bos-false", config(bos_token="<s>", eos_token="</s>", add_bos_token=False, add_eos_token=True), {}),
    ("add-bos-true-no-processor", config("TokenizersBackend", bos_token="<s>", add_bos_token=True), {"post_processor": None}),
    ("add-prefix-space", config("TokenizersBackend", add_prefix_space=True), {}),
    ("llama-class-byte-level", config("LlamaTokenizerFast", add_bos_token=False, add_prefix_space=True), {}),
    ("llama-class", config("LlamaTokenizerFast", add_bos_token=False, add_eos_token=True, additional_special_tokens=[END]), SPACED),
    ("llama-class-legacy", config("LlamaTokenizerFast", add_bos_token=True, legacy=True), {**SPACED, "post_processor": None, "model": {"dropout": 1.0}}),
    ("llama-class-decoder-hides-list", config("LlamaTokenizer", **decoder({"0": token("<s>"), "1": token("</s>")})), SPACED),
    ("llama-class-model-mistral", {**config("LlamaTokenizerFast"), "config.json": {"model_type": "mistral"}}, SPACED),
    ("generic-class-spaced", {**config(), "config.json": {"model_type": "llama"}}, SPACED),
    ("gpt2-class", config("GPT2TokenizerFast", add_prefix_space=True, add_bos_token=True, bos_token="<s>"), {"model": {"dropout": 1.0}}),
    ("qwen2-by-model", {**config(), "config.json": {"model_type": "qwen2"}}, {}),
    ("qwen3-by-class", {**config(), "config.json": {"model_type": "qwen3"}}, {}),
    ("gpt-neox-class", config("GPTNeoXTokenizerFast", add_bos_token=True, bos_token="<s>"), {}),
    ("gemma-class", config("GemmaTokenizerFast", bos_token="<s>", eos_token="</s>", unk_token="<pad>"), SPACED),
]
REFUSED = [
    ("named-untyped", config(eos_token=token("<n>"))),
    ("extra-untyped", config(extra_special_tokens=[token("<n>")])),
    ("map-additional-untyped", {**config(), MAP: {"additional_special_tokens": [token("<n>", rstrip=True)]}}),
    ("decoder-strings", config(**decoder({"264": "<n>"}))),
]


def load(files, replaces):
    whole = {**BASE, **replaces, "model": {**BASE["model"], **replaces.get("model", {})}}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for name, content in {"tokenizer.json": whole, **files}.items():
            (folder / name).write_text(json.dumps(content))
        (folder / "chat_template.jinja").write_text(TEMPLATE)
        return transformers.AutoTokenizer.from_pretrained(folder)


def made(name, files, replaces):
    tok = load(files, replaces)
    chat = {"add_generation_prompt": True, "return_dict": False}
    return {
        "name": name, "class": type(tok).__name__, "files": files, **({"replaces": replaces} if replaces else {}), "texts": TEXTS,
        "ids": [tok(text).input_ids for text in TEXTS], "bare": [tok(text, add_special_tokens=False).input_ids for text in TEXTS],
        "rendered": tok.apply_chat_template(MESSAGES, tokenize=False, **chat), "chat": tok.apply_chat_template(MESSAGES, tokenize=True, **chat),
    }


def refused(name, files):
    try:
        load(files, {})
    except Exception as error:
        return {"name": name, "files": files, "error": f"{type(error).__name__}: {error}"}
    raise SystemExit(f"{name} is loaded")


def line(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def lines(values):
    return "[\n" + ",\n".join(map(line, values)) + "\n]"


cases = [made(*case) for case in CASES]
(HERE / "side-files.json").write_text(
    f'{{"tokenizer":{line(BASE)},\n"template":{line(TEMPLATE)},\n"messages":{line(MESSAGES)},\n'
    f'"cases":{lines(cases)},\n"refused":{lines(refused(*case) for case in REFUSED)}}}\n'
)
print(len(cases), "cases,", len(REFUSED), "refused")
