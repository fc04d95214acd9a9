"""Decoding GPT-2 124M on a CPU beside other engines: tokens a second, one stream and eight.

    python benchmarks/decode.py                     every side that is installed, all cores
    python benchmarks/decode.py --isa avx2 --threads 1
    python benchmarks/decode.py --node-modules DIR  with llama.cpp, from npm's node-llama-cpp

Weights are drawn at random: they do not matter to speed. Each side runs in its own process on the
same cores, side after side, for several rounds; a round takes the fastest of three repetitions, the
table the median over rounds. Streams begin with 16 different tokens and are 64 tokens longer when
they end, greedily; reading the prompts counts, and nothing is guessed from earlier text. The floor
is the time in which the weights can be read from memory, as a sum over a large array measures it.

On a machine that does other things too, `--clock processor` counts the time that a process had a
core: with one thread that is close to what an idle machine shows. CTranslate2 and llama.cpp (`pip
install ctranslate2 gguf`) are no dependencies of nextword: what is not installed is left out, and
named. For llama.cpp with `--isa avx2`, DIR is a copy without the libggml-cpu-*.so beyond haswell.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import publish, python, ran

CLOCK = "NEXTWORD_BENCHMARK_CLOCK"  # of the sides' processes: a function of time
COLUMNS = ("", "1 stream", "8 streams", "1 stream, of the floor")
PROMPT, STREAMS = 16, (1, 8)
NEW = int(os.environ.get("NEXTWORD_BENCHMARK_TOKENS", "64"))
REPETITIONS = int(os.environ.get("NEXTWORD_BENCHMARK_REPETITIONS", "3"))
PARAMETERS = 124_439_808 - 1024 * 768  # read in each step: all but the positions
SIDES = {
    "nextword fp32": 4,
    "nextword bf16": 2,
    "nextword int8": 1,
    "transformers fp32": 4,
    "transformers bf16": 2,
    "CTranslate2 float32": 4,
    "CTranslate2 int8": 1,
    "llama.cpp Q8_0": 34 / 32,
}
RESTRICTED = {
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "FBGEMM_ENABLE_INSTRUCTIONS": "AVX2",
    "CT2_FORCE_CPU_ISA": "AVX2",
}


def prompts(streams: int) -> list[list[int]]:
    return [[(17 * stream + 31 * n) % 50_000 for n in range(PROMPT)] for stream in range(streams)]


def fastest(run: Callable[[int], None]) -> dict[str, float]:
    """Tokens a second for each number of streams."""
    clock = getattr(time, os.environ.get(CLOCK, "perf_counter"))
    rates = {}
    for streams in STREAMS:
        run(streams)
        seconds = []
        for _ in range(REPETITIONS):
            started = clock()
            run(streams)
            seconds.append(clock() - started)
        rates[str(streams)] = streams * NEW / min(seconds)
    return rates


def run_nextword(folder: Path, precision: str, threads: int) -> dict[str, float]:
    os.environ |= {"THP_MEM_ALLOC_ENABLE": "1", "GOMP_SPINCOUNT": "3000"}  # as `nextword` does
    import torch

    from nextword.inference.engine.engine import Engine, EngineOptions
    from nextword.inference.engine.request import Request
    from nextword.inference.language_model import load_language_model
    from nextword.settings import GenerateSettings

    torch.set_num_threads(threads)
    loaded = "fp32" if precision == "int8" else precision
    model = load_language_model(folder, precision=loaded)  # type: ignore[arg-type]
    quantize = "int8" if precision == "int8" else "none"
    options = EngineOptions(8, threads=threads, lookup=False, quantize=quantize)  # type: ignore[arg-type]
    engine = Engine(model, options)
    settings = GenerateSettings(temperature=0, max_new_tokens=NEW)

    def run(streams: int) -> None:
        for stream in [engine.submit(Request(each, settings)) for each in prompts(streams)]:
            list(stream)

    rates = fastest(run)
    clock = getattr(time, os.environ.get(CLOCK, "perf_counter"))
    array = torch.ones(2**28)
    seconds = []
    for _ in range(5):
        started = clock()
        array.sum()
        seconds.append(clock() - started)
    return rates | {"bandwidth": array.nbytes / min(seconds)}


def run_transformers(folder: Path, precision: str, threads: int) -> dict[str, float]:
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(threads)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()

    def run(streams: int) -> None:
        ids = torch.tensor(prompts(streams))
        mask = torch.ones_like(ids)
        lengths = {"max_new_tokens": NEW, "min_new_tokens": NEW}
        model.generate(ids, attention_mask=mask, do_sample=False, pad_token_id=0, **lengths)

    return fastest(run)


def run_ctranslate2(folder: Path, precision: str, threads: int) -> dict[str, float]:
    import ctranslate2

    generator = ctranslate2.Generator(
        str(folder / "ctranslate2"), compute_type=precision, inter_threads=1, intra_threads=threads
    )

    def run(streams: int) -> None:
        start = [[f"t{token}" for token in prompt] for prompt in prompts(streams)]
        generator.generate_batch(
            start, max_length=NEW, min_length=NEW, include_prompt_in_result=False
        )

    return fastest(run)


NODE = """
import {{getLlama}} from "{modules}/node-llama-cpp/dist/index.js";
const [,, file, threads] = process.argv;
const llama = await getLlama({{gpu: false, build: "never", maxThreads: +threads}});
const model = await llama.loadModel({{modelPath: file}});
const rates = {{}};
for (const streams of [{streams}]) {{
    const context = await model.createContext(
        {{sequences: streams, contextSize: 128, batchSize: 512, threads: +threads}});
    const sequences = [...Array(streams)].map(() => context.getSequence());
    const one = async (sequence, stream) => {{
        await sequence.clearHistory();
        const prompt = [...Array({prompt})].map((_, n) => (17 * stream + 31 * n) % 50000);
        let count = 0;
        for await (const _ of sequence.evaluate(prompt, {{temperature: 0, yieldEogToken: true}}))
            if (++count === {new}) break;
    }};
    const times = [];
    const now = () => {{
        const used = process.cpuUsage();
        return "{clock}" === "process_time" ? (used.user + used.system) / 1000 : performance.now();
    }};
    for (let n = 0; n < {repetitions} + 1; n++) {{
        const started = now();
        await Promise.all(sequences.map(one));
        times.push(now() - started);
    }}
    rates[streams] = streams * {new} / Math.min(...times.slice(1)) * 1000;
    await context.dispose();
}}
console.log(JSON.stringify(rates));
process.exit(0);
"""


def run_llama(folder: Path, modules: Path, threads: int) -> dict[str, float]:
    script = folder / "llama.mjs"
    names: dict[str, Any] = {
        "clock": os.environ.get(CLOCK),
        "prompt": PROMPT,
        "new": NEW,
        "repetitions": REPETITIONS,
    }
    streams = ", ".join(map(str, STREAMS))
    script.write_text(NODE.format(modules=modules.resolve(), streams=streams, **names))
    output = ran(["node", str(script), str(folder / "q8_0.gguf"), str(threads)]).output
    rates: dict[str, float] = json.loads(output.splitlines()[-1])
    return rates


def write_models(folder: Path, sides: list[str]) -> None:
    """A GPT-2 with random weights as each of the sides reads it."""
    import torch
    from tokenizers import Tokenizer, models
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(bos_token_id=50_256, eos_token_id=50_256))
    model.save_pretrained(folder)
    vocabulary = {f"t{n}": n for n in range(50_256)} | {"<|endoftext|>": 50_256}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<|endoftext|>"))
    end = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    PreTrainedTokenizerFast(tokenizer_object=words, **end).save_pretrained(folder)
    if any(side.startswith("CTranslate2") for side in sides):
        from ctranslate2.converters import TransformersConverter

        TransformersConverter(str(folder)).convert(str(folder / "ctranslate2"))
    if "llama.cpp Q8_0" in sides:
        write_gguf(model, folder / "q8_0.gguf")


def write_gguf(model: Any, file: Path) -> None:
    """The model as llama.cpp's own converter would write it in Q8_0."""
    import gguf

    writer = gguf.GGUFWriter(str(file), "gpt2")
    writer.add_block_count(12)
    writer.add_context_length(1024)
    writer.add_embedding_length(768)
    writer.add_feed_forward_length(3072)
    writer.add_head_count(12)
    writer.add_layer_norm_eps(1e-5)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([f"t{n}" for n in range(50_256)] + ["<|endoftext|>"])
    writer.add_token_types([1] * 50_256 + [3])
    writer.add_token_merges(["t 0"])
    writer.add_eos_token_id(50_256)
    names = {"ln_1": "attn_norm", "ln_2": "ffn_norm", "attn.c_attn": "attn_qkv"}
    names |= {"attn.c_proj": "attn_output", "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down"}
    whole = {"wte": "token_embd", "wpe": "position_embd", "ln_f": "output_norm"}
    for name, tensor in model.transformer.state_dict().items():
        part, kind = name.rsplit(".", 1)
        if part.startswith("h."):
            _, layer, place = part.split(".", 2)
            if place not in names:
                continue
            written = f"blk.{layer}.{names[place]}.{kind}"
            tensor = tensor.T if ".c_" in part and kind == "weight" else tensor
        else:
            written = f"{whole[part]}.{kind}"
        values = tensor.contiguous().numpy()
        if values.ndim == 2 and part != "wpe":
            q8 = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(written, gguf.quants.quantize(values, q8), raw_dtype=q8)
        else:
            writer.add_tensor(written, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def available(modules: Path | None) -> list[str]:
    """The sides that can run here; says which cannot."""
    missing = {
        "CTranslate2": importlib.util.find_spec("ctranslate2") is None,
        "llama.cpp": modules is None or importlib.util.find_spec("gguf") is None,
    }
    for name, is_missing in missing.items():
        if is_missing:
            print(f"{name} is left out: it is not installed, see --help", file=sys.stderr)
    return [side for side in SIDES if not missing.get(side.split()[0], False)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--isa", choices=("all", "avx2"), default="all")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clock", choices=("wall", "processor"), default="wall")
    parser.add_argument("--sides", nargs="+", choices=SIDES, help="only these")
    parser.add_argument("--node-modules", type=Path)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        program, precision = args.side.split()
        if program == "llama.cpp":
            rates = run_llama(args.folder, args.node_modules, args.threads)
        else:
            run = {"nextword": run_nextword, "transformers": run_transformers}
            rates = run.get(program, run_ctranslate2)(args.folder, precision, args.threads)
        print(json.dumps(rates))
        return
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.threads])
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    if args.clock == "processor":
        os.environ[CLOCK] = "process_time"
    os.environ |= RESTRICTED if args.isa == "avx2" else {}
    sides = [side for side in available(args.node_modules) if side in (args.sides or SIDES)]
    if args.isa == "avx2":  # there, bf16 is emulated
        sides = [side for side in sides if not side.endswith("bf16")]
    measured: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    with tempfile.TemporaryDirectory() as temporary:
        write_models(Path(temporary), sides)
        for _ in range(args.rounds):
            for side in sides:
                command = [python(), __file__, "--side", side, "--folder", temporary]
                command += ["--threads", str(args.threads)]
                if args.node_modules:
                    command += ["--node-modules", str(args.node_modules)]
                measured[side].append(json.loads(ran(command).output.splitlines()[-1]))
    speeds = [each["bandwidth"] for runs in measured.values() for each in runs if len(each) > 2]
    bandwidth = statistics.median(speeds) if speeds else float("nan")
    rows = []
    for side, runs in measured.items():
        one, eight = (statistics.median(run[str(streams)] for run in runs) for streams in STREAMS)
        floor = bandwidth / (SIDES[side] * PARAMETERS)
        shown = f"{one:.1f}", f"{eight:.1f}", f"{one / floor:.0%}"
        rows.append(dict(zip(COLUMNS, (side, *shown), strict=True)))
    title = f"tokens/s, {args.threads} threads, {args.isa}, {args.clock} time"
    title += f"; memory {bandwidth / 1e9:.0f} GB/s"
    publish(f"decode-{args.isa}-{args.threads}", title, rows)


if __name__ == "__main__":
    main()
