"""Writes pairs of texts, with what rouge-score and sacrebleu say of them, as JSON lines below the folder given."""

import json
import pathlib
import random
import sys

from rouge_score import rouge_scorer
from sacrebleu.metrics import BLEU, CHRF

random.seed(20251125)

# Real sentences, and pieces that tokenizers treat in their own ways.
SENTENCES = [
    "The quick brown fox jumps over the lazy dog.",
    "In 1998, the U.S. spent $3.5 billion (approx. 2.1%) on R&D; it's more than e.g. France's 1,234.56!",
    "Er sagte: \u201eGr\u00fc\u00df Gott\u201c \u2013 und ging.",
    "L'\u00e9t\u00e9 dernier, nous avons visit\u00e9 Aix-en-Provence... c'\u00e9tait magnifique!",
    "She sells sea-shells, by the sea shore; the shells she sells are sea-shells, I'm sure.",
    "Call 555-1234 or e-mail a.b@c-d.org \u2014 24/7.",
    "\u6771\u4eac\u306f\u65e5\u672c\u306e\u9996\u90fd\u3067\u3059\u3002 Tokyo is the capital of Japan.",
    "&quot;Fish &amp; chips&quot; &lt;skipped> <skipped> cost 5-10 pounds -\nish.",
    "The cat sat on the mat.\nThe dog lay on the rug.\nThe bird flew away.",
    "a A an the THE  the\u00a0the\tthe",
    "\u0130stanbul \u212aelvin \u00c5ngstr\u00f6m \u1e9e ma\u00dfe ~tilde~ {brace} [bracket] ^caret_ `tick`",
    "To be, or not to be, that is the question:\nWhether 'tis nobler in the mind to suffer",
    "1\u0085line\u2028separated\u2029by\u3000odd\u200bspaces\u205f\ufeff end\u001fof\u001ctext",
    "\u0663.\u0664 \u0967,\u0968 x\u00b2-3 5\u2010- 7-\u00e9 \u00bd.5 3,\u0661 \U0001d7d8.1",
    "\U0001f600\U0001f600.\u200d\U0001f468\u200d\U0001f469 na\u0308ive \u00e9e\u0301 \ufb01ne \u03a3\u03a3 \u0391\u03a3.",
    "1.2.3,4 5,6-7 8.-9 ,1 1, a,b.c,1 <a> <skip <skipped>x< 9 > 3|4 a_b-c_d 1-2-3--4 .,. ,,",
    "\ud55c\uad6d\uc5b4 \u0e44\u0e17\u0e22 \u0939\u093f\u0928\u094d\u0926\u0940 \u05e2\u05d1\u05e8\u05d9\u05ea, \u0627\u0644\u0639\u0631\u0628\u064a\u0629; \u0420\u0443\u0441\u0441\u043a\u0438\u0439!",
    "", " ", ".", "1.", ".5", "-", "x", "...", "\n\n", "no.1 , 2 ,3, 4.a a.4 --- 9-9 9- -9",
]
WORDS = " ".join(SENTENCES).split(" ")


def text():
    kind = random.randrange(4)
    if kind == 0:
        return random.choice(SENTENCES)
    if kind == 1:
        return " ".join(random.choice(WORDS) for _ in range(random.randrange(0, 30)))
    if kind == 2:
        return "\n".join(random.choice(SENTENCES) for _ in range(random.randrange(1, 5)))
    return " ".join(random.choice(["a", "b", "c", "d.", "\n"]) for _ in range(random.randrange(0, 40)))


def changed(original):
    words = original.split(" ")
    for _ in range(random.randrange(0, 5)):
        at = random.randrange(len(words))
        kind = random.randrange(3)
        if kind == 0:
            words[at] = random.choice(WORDS)
        elif kind == 1:
            words.insert(at, random.choice(WORDS))
        elif len(words) > 1:
            del words[at]
    return " ".join(words)


rouge = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL", "rougeLsum"], use_stemmer=False)
bleu, sentence_bleu, chrf = BLEU(), BLEU(effective_order=True), CHRF()
folder = pathlib.Path(sys.argv[1])
with open(folder / "texts.jsonl", "w") as file:
    for _ in range(3000):
        reference = text()
        candidate = changed(reference) if random.random() < 0.7 else text()
        others = [text() for _ in range(random.choice([0, 0, 1, 2]))]
        found = rouge.score(reference, candidate)
        references = [reference, *others]
        file.write(json.dumps({
            "text": candidate, "references": references,
            "rouge": [list(found[kind]) for kind in ["rouge1", "rouge2", "rougeL", "rougeLsum"]],
            "tokens": bleu.tokenizer(candidate.rstrip()),
            "bleu": bleu.sentence_score(candidate, references).score,
            "bleu_effective": sentence_bleu.sentence_score(candidate, references).score,
            "chrf": chrf.sentence_score(candidate, references).score,
        }) + "\n")
with open(folder / "corpora.jsonl", "w") as file:
    for _ in range(100):
        pairs = [(changed(t), t) for t in (text() for _ in range(random.randrange(1, 30)))]
        texts, references = [p[0] for p in pairs], [p[1] for p in pairs]
        file.write(json.dumps({
            "texts": texts, "references": references,
            "bleu": bleu.corpus_score(texts, [references]).score,
            "chrf": chrf.corpus_score(texts, [references]).score,
        }) + "\n")
