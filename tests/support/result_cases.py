"""The jobs that `same_results` runs: small, fixed, and between them every task and objective.

Commands and files are in the words of the BEFORE side. {data} and {bases} stand for the folders of
the data and of the pretrained models; every other path is relative to the folder of one side.
"""

from __future__ import annotations

from dataclasses import dataclass

FP32 = "--precision fp32"
SMALL = "--layers 2 --width 32 --heads 2 --workers 1 --compile no --batch-size 8"
BASE = (
    f"pretrain {{data}}/books --out run --json {SMALL} --context-length 256 --vocab-size 500 "
    f"--seed 3 --optimizer adamw --learning-rate 0.005 --eval-every 60 {FP32}"
)
BASES = {  # pretrained once, by the BEFORE side, and fine-tuned by both
    "decoder": f"{BASE} --family qwen3 --steps 120",
    "encoder": f"{BASE} --family modernbert --objective masked --steps 120",
    "rewriter": f"{BASE} --family t5 --objective denoise --steps 120",
}
LEARN = (
    f"--json {FP32} --seed 11 --batch-size 8 --micro-batch 4 --learning-rate 0.003 "
    "--val-fraction 0.25 --steps 40 --eval-every 20"
)
LONGER = LEARN.replace("--steps 40 --eval-every 20", "--steps 100 --eval-every 50")
PRETRAIN = (
    f"--json {SMALL} --context-length 64 --vocab-size 420 --seed 5 --micro-batch 4 "
    "--steps 24 --eval-every 8"
)
RUN = tuple(
    f"run/{name}"
    for name in ("evaluation.json", "metrics.jsonl", "model/config.json", "model/model.safetensors")
)


@dataclass(frozen=True)
class Case:
    """Commands to run in order, and the files to compare beside the JSON that they print. A folder
    stands for all files in it."""

    name: str
    commands: tuple[str, ...]
    files: tuple[str, ...]
    needs_bf16: bool = False


def finetuned(
    name: str,
    base: str,
    data: str,
    flags: str,
    *,
    learn: str = LEARN,
    use: str = "",
    new: str = "",
) -> Case:
    """Fine-tune, evaluate on a test file and predict it, and `new` data if there is some.

    `data` has {part} for "train" and "test"; `flags` are for training, `use` is for all commands.
    """
    train, test = (data.replace("{part}", part) for part in ("train", "test"))
    commands = [
        f"finetune {{bases}}/{base}/run {train} {flags} --out run {learn} {use}",
        f"evaluate run {test} --json {FP32} {use}",
        f"predict run {test} --out predictions.jsonl --json {FP32} {use}",
    ]
    if new:
        commands.append(f"predict run {new} --out new.jsonl --json {FP32} {use}")
    written = ("run/held_out.jsonl", "predictions.jsonl", *["new.jsonl"] * bool(new))
    return Case(name, tuple(commands), (*RUN, *written))


def pretrained(name: str, flags: str, *uses: str, precision: str = FP32) -> Case:
    """Pretrain, evaluate on the text held out and on another, and use the model."""
    commands = (
        f"pretrain {{data}}/books --out run {PRETRAIN} {flags} {precision}",
        f"evaluate run --json {FP32}",
        f"evaluate run {{data}}/other.txt --json {FP32}",
        *(f"{use} --json {FP32}" for use in uses),
    )
    return Case(name, commands, RUN, needs_bf16="bf16" in precision)


def compared(name: str, base: str, data: str, flags: str) -> Case:
    """Fine-tune from two seeds with one split, and compare the two models."""
    train, test = (data.replace("{part}", part) for part in ("train", "test"))
    same = f"finetune {{bases}}/{base}/run {train} {flags} {LEARN} --split-seed 1"
    commands = (f"{same} --out a", f"{same} --out b --seed 12", f"compare a b {test} --json {FP32}")
    return Case(name, commands, ("a/evaluation.json", "b/evaluation.json"))


WRITE = 'generate run "The cat" --seed 4 --num-samples 3 --max-new-tokens 40'
GREEDY = 'generate run "老人在" --temperature 0 --max-new-tokens 30 --repetition-penalty 1.3'
PICKY = (
    'generate run "Anna" --seed 8 --num-samples 3 --max-new-tokens 40 --temperature 1.5 '
    '--top-k 60 --top-p 0.8 --min-p 0.002 --presence-penalty 0.3 --stop "." "。"'
)
IN_THE_MIDDLE = 'generate run "The dog" --suffix " by the door." --seed 2 --max-new-tokens 20'
FILL = 'fill run "The cat [MASK] on the [MASK]." --top-k 4'
ADAMW = "--optimizer adamw"
CLASSIFY = "{bases}/encoder/run {data}/classify-train.csv --task classify --json"

CASES = (
    # The longest come first, so that both workers end at about the same time.
    finetuned(
        *("summarize", "rewriter", "{data}/notes-{part}.jsonl", "--task summarize"),
        learn=LONGER,
        use="--max-length 48",
    ),
    finetuned(
        *("summarize-zh", "decoder", "{data}/summaries.zh-{part}.jsonl", "--task summarize"),
        learn=LONGER,
    ),
    finetuned(
        *("qa-written-zh", "rewriter", "{data}/qa.zh-{part}.jsonl"),
        r"--task qa --prompt '{context}\n问：{question}\n答：'",
        learn=LONGER,
        new="{data}/questions-new.jsonl",
    ),
    finetuned("qa-written", "decoder", "{data}/qa-{part}.json", "--task qa", learn=LONGER),
    finetuned(
        *("qa-extractive-windows", "decoder", "{data}/long-{part}.jsonl"),
        "--task qa --extract",
    ),
    finetuned("qa-extractive", "encoder", "{data}/qa-{part}.json", "--task qa --extract"),
    finetuned(
        *("translate", "decoder", "{data}/translate-{part}.tsv", "--task translate"), learn=LONGER
    ),
    finetuned(
        *("translate-beams-zh", "rewriter"),
        *("{data}/translate-{part}.en {data}/translate-{part}.zh", "--task translate"),
        learn=LONGER,
        use="--num-beams 3",
    ),
    finetuned("chat", "decoder", "{data}/chat-{part}.jsonl", "--task chat", learn=LONGER),
    finetuned("chat-instructions", "decoder", "{data}/instructions-{part}.jsonl", "--task chat"),
    Case(
        "text",
        (
            f"finetune {{bases}}/decoder/run {{data}}/text-train.jsonl --task text {LEARN} "
            "--out run",
            f"evaluate run {{data}}/text-test.jsonl --json {FP32}",
            f"{WRITE} --json {FP32}",
        ),
        RUN,
    ),
    finetuned(
        *("classify-single", "encoder", "{data}/classify-{part}.csv", "--task classify"),
        learn=LONGER,
        new="{data}/remarks-new.csv",
    ),
    finetuned(
        *("classify-single-balanced-zh", "decoder", "{data}/classify.zh-{part}.csv"),
        "--task classify --class-weights balanced --metric loss --split-seed 5 --dropout 0.1",
    ),
    finetuned(
        *("classify-single-numbers-lora", "decoder", "{data}/ratings-{part}.jsonl"),
        "--task classify --text-column review --label-column stars --labels single "
        "--lora --lora-rank 4 --lora-dropout 0.1",
    ),
    finetuned(
        *("classify-single-pairs", "encoder", "{data}/pairs-{part}.csv"),
        "--task classify --freeze 1 --layer-decay 0.8 --schedule cosine",
    ),
    finetuned(
        *("classify-several", "encoder", "{data}/topics-{part}.jsonl", "--task classify"),
        learn=LONGER,
    ),
    finetuned(
        *("classify-several-random-weights", "decoder", "{data}/topics-{part}.jsonl"),
        "--task classify --from-scratch --metric macro-f1",
    ),
    finetuned(
        *("classify-amount", "encoder", "{data}/amounts-{part}.csv", "--task classify"),
        learn=LONGER,
    ),
    finetuned(
        *("classify-amount-val-file", "decoder", "{data}/amounts-{part}.csv"),
        "--task classify --labels amount --val {data}/amounts-test.csv --patience 1",
        learn=LEARN.replace("--val-fraction 0.25 ", ""),
    ),
    finetuned("tag", "encoder", "{data}/entities-{part}.conll", "--task tag", learn=LONGER),
    finetuned("tag-entities-zh", "decoder", "{data}/entities.zh-{part}.jsonl", "--task tag"),
    finetuned(
        *("tag-tokens-windows", "encoder", "{data}/tokens-{part}.jsonl", "--task tag"),
        use="--max-length 24",
    ),
    compared("compare-classify", "encoder", "{data}/classify-{part}.csv", "--task classify"),
    compared("compare-qa", "encoder", "{data}/qa-{part}.json", "--task qa --extract"),
    compared("compare-translate", "decoder", "{data}/translate-{part}.tsv", "--task translate"),
    Case(
        "seeds",
        (
            f"finetune {CLASSIFY} --out run --seeds 2 --seed 4 --steps 20 --batch-size 8 {FP32}",
            f"evaluate run {{data}}/classify-test.csv --json {FP32}",
        ),
        (*RUN, "run/held_out.jsonl", "run/seeds.json"),
    ),
    Case(
        "search",
        (
            f"finetune {CLASSIFY} --out run --search 2 --seed 4 --epochs 2 {FP32}",
            f"evaluate run {{data}}/classify-test.csv --json {FP32}",
        ),
        (*RUN, "run/held_out.jsonl", "run/search.json"),
    ),
    pretrained(
        "pretrain-gpt2",
        f"--family gpt2 {ADAMW} --schedule cosine --dropout 0.1 --ema 0.9 --sample-every 12",
        *(WRITE, PICKY),
    ),
    pretrained("pretrain-llama", f"--family llama --kv-heads 1 {ADAMW}", WRITE, GREEDY),
    pretrained("pretrain-qwen3", f"--family qwen3 {ADAMW} --split position", WRITE, GREEDY),
    pretrained(
        "pretrain-fim", "--family qwen3 --fim-rate 0.5 --optimizer sgd", WRITE, IN_THE_MIDDLE
    ),
    pretrained(
        *("pretrain-muon-bf16", "--family qwen3 --optimizer muon", WRITE),
        precision="--precision bf16",
    ),
    pretrained("pretrain-modernbert", f"--family modernbert --objective masked {ADAMW}", FILL),
    pretrained(
        "pretrain-bert",
        f"--family bert --objective masked --whole-words --mask-rate 0.2 {ADAMW}",
        FILL,
    ),
    pretrained("pretrain-t5", f"--family t5 --objective denoise --span-length 2 {ADAMW}"),
    Case(
        "prepare",
        ("prepare {data}/messy --out store --workers 1 --skip-bad --json",),
        ("store",),
    ),
    Case(
        "prepare-filtered",
        (
            "prepare {data}/messy --out store --workers 2 --skip-bad --json --objective masked "
            "--languages en zh --quality-filter --deduplicate-paragraphs --vocab-size 600",
        ),
        ("store",),
    ),
    Case(
        "prepare-characters",
        (
            "prepare {data}/books {data}/other.txt --out store --workers 1 --json --tokenizer "
            "chars --deduplicate exact --split position --val-fraction 0.2 --no-clean",
        ),
        ("store",),
    ),
)
