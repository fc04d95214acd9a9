// llama.cpp, as the npm package node-llama-cpp brings it, asked about a GGUF file.
//
// node llama_cpp.mjs MODEL.gguf QUESTIONS.json, where QUESTIONS holds "texts" to encode, "prompts" (ids) to
// continue greedily by "count" tokens, and "scored" (ids) of which each next token's likeliest are
// wanted. Writes one JSON object to standard output.
import fs from "node:fs";
import {createRequire} from "node:module";
import {pathToFileURL} from "node:url";

const require = createRequire(pathToFileURL(process.env.NODE_LLAMA_CPP + "/package.json"));
const {getLlama, LlamaLogLevel} = await import(pathToFileURL(require.resolve("node-llama-cpp")));
const [path, file] = process.argv.slice(2);
const asked = JSON.parse(fs.readFileSync(file, "utf8"));
const llama = await getLlama({
    gpu: false, build: "never", logLevel: LlamaLogLevel.error, maxThreads: asked.threads ?? 1,
});
const model = await llama.loadModel({modelPath: path, gpuLayers: 0});
const answer = {tokens: (asked.texts ?? []).map((text) => model.tokenize(text, false))};
const context = await model.createContext({contextSize: asked.context, batchSize: 512, flashAttention: false});
const sequence = context.getSequence();

answer.continued = [];
for (const prompt of asked.prompts ?? []) {
    await sequence.clearHistory();
    const written = [];
    for await (const token of sequence.evaluate(prompt, {temperature: 0, yieldEogToken: true})) {
        written.push(token);
        if (written.length === asked.count)
            break;
    }
    answer.continued.push(written);
}
answer.scores = [];
for (const ids of asked.scored ?? []) {
    await sequence.clearHistory();
    const results = await sequence.controlledEvaluate(
        ids.map((id) => [id, {generateNext: {probabilities: true}}]),
    );
    answer.scores.push(results.map((result) => [...result.next.probabilities.entries()].slice(0, asked.top)));
}
process.stdout.write(JSON.stringify(answer), () => process.exit(0));
