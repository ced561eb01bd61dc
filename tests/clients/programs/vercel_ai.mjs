// The Vercel AI SDK, through its provider for services like OpenAI's.
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, streamText } from "ai";
import { KEY, MODEL, PROMPT, URL, tell } from "./told.mjs";

const tally = createOpenAICompatible({ name: "tally", baseURL: URL, apiKey: KEY });
const plain = async (model = MODEL) => (await generateText({ model: tally(model), prompt: PROMPT })).text;

async function streamed() {
  let text = "";
  for await (const piece of streamText({ model: tally(MODEL), prompt: PROMPT }).textStream) text += piece;
  return text;
}

await tell({ plain, streamed, wrong: () => plain("gpt-99") });
