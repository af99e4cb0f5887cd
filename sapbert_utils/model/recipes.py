"""How each of the released models is trained, as data."""

from dataclasses import asdict, dataclass, fields, replace


@dataclass(frozen=True)
class Recipe:
    """The settings of one training; the defaults are those of the NAACL 2021 model, as its repository runs them."""

    name: str
    base_model: str  # the paper's
    stand_in: str  # what the demo trains in its place
    pooling: str  # cls, mean, or mean_all_tok
    languages: tuple[str, ...] | None = ("ENG",)  # LAT codes; None: all
    lower: bool = True  # lower-case the names
    max_length: int = 25  # tokens
    batch_size: int = 256  # pairs of a step, over all processes
    learning_rate: float = 2e-5
    weight_decay: float = 0.01
    schedule: str = "constant"  # or linear: warm-up over the first tenth of the steps, then decay to zero
    epochs: int = 1
    seed: int = 33
    loss: str = "ms"  # a name of losses.LOSSES
    miner: str = "all"  # a name of losses.MINERS
    margin: float = 0.2  # of the miner, in Euclidean distance of unit vectors
    sampling: str = "pairs"  # or concepts: every concept once an epoch, however many pairs it has
    names_per_concept: int = 2  # in a batch, for data of names rather than pairs
    mask_ambiguous: bool = False  # push no two names apart of which one stands under the other's concept too
    precision: str = "auto"  # fp32, bf16, or fp16 with a loss scaler; auto: bf16 where the device has it
    deterministic: bool = False  # on a GPU the same seed gives the same weights; slower (a CPU always does)
    cache_gradients: bool = False  # encode twice and keep no activations: any batch fits, by a quarter more time
    dropout: float = 0.1  # of hidden states and attention, as the papers' base models have it
    freeze_word_embeddings: bool = False
    freeze_layers: int = 0  # train neither the embeddings nor so many of the lowest layers: cheaper steps
    blend: float = 1.0  # share of the trained weights in the result; the rest are those of the start
    lora_rank: int = 0  # train low-rank adapters of this rank, merged into the model at the end; 0: all weights


_PUBMEDBERT = dict(base_model="microsoft/BiomedNLP-PubMedBERT-base-uncased-abstract-fulltext", stand_in="minilm")
_XLMR = dict(stand_in="e5-multilingual", pooling="cls", languages=None, lower=False)

RECIPES = {
    r.name: r
    for r in (
        Recipe("sapbert", **_PUBMEDBERT, pooling="cls"),
        Recipe("sapbert-mean-token", **_PUBMEDBERT, pooling="mean_all_tok"),
        Recipe("sapbert-xlmr", "xlm-roberta-base", **_XLMR),
        Recipe("sapbert-xlmr-large", "xlm-roberta-large", **_XLMR),
        # word pairs of the general domain, after the terminology (ACL 2021, section 3)
        Recipe("xling-bitext", "cambridgeltl/SapBERT-UMLS-2020AB-all-lang-from-XLMR", **_XLMR, epochs=5),
    )
}


def get_recipe(name: str, **changes) -> Recipe:
    """A recipe by name, with settings replaced. Raises ``ValueError`` on an unknown name or setting."""
    if name not in RECIPES:
        raise ValueError(f"unknown recipe {name!r}; choose one of: {', '.join(RECIPES)}")
    known = [field.name for field in fields(Recipe)]
    if unknown := sorted(set(changes) - set(known)):
        raise ValueError(f"unknown setting {unknown[0]!r} of a recipe; choose one of: {', '.join(known)}")
    return replace(RECIPES[name], **changes)


def model_card(recipe: Recipe, base_model: str, data: str, steps: int) -> str:
    """The README of a trained model's folder: what its vectors need to be used rightly, and how it came about."""
    pooled = {"cls": "`hidden[:, 0]`", "mean": "the mean of `hidden` over the real tokens",
              "mean_all_tok": f"the mean of `hidden` over all positions, padded to {recipe.max_length}"}[recipe.pooling]
    settings = "\n".join(f"| {key} | {value} |" for key, value in asdict(recipe).items())
    return f"""# {recipe.name}

A biomedical encoder trained by self-alignment (SapBERT: Liu et al., NAACL 2021 and ACL 2021).

- **Base model:** {base_model} (the paper's: {recipe.base_model})
- **Pooling:** {recipe.pooling}, at most {recipe.max_length} tokens{', lower-cased names' if recipe.lower else ''}
- **Data:** {data}
- **Steps:** {steps:,} of {recipe.batch_size} pairs

```python
tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder)
hidden = model(**tokenizer(names, padding=True, truncation=True, return_tensors="pt")).last_hidden_state
```

The vector of a name is {pooled}; `sapbert.json` says so to this project's `load_encoder`.

| setting | value |
|---|---|
{settings}
"""
