// The official client for JavaScript.
import OpenAI from "openai";
import { KEY, MODEL, PROMPT, URL, tell } from "./told.mjs";

const messages = [{ role: "user", content: PROMPT }];
const client = (options = {}) => new OpenAI({ baseURL: URL, apiKey: KEY, ...options });

async function plain(options = {}, model = MODEL) {
  const answer = await client(options).chat.completions.create({ model, messages });
  return answer.choices[0].message.content;
}

async function streamed() {
  let text = "";
  for await (const chunk of await client().chat.completions.create({ model: MODEL, messages, stream: true }))
    text += chunk.choices[0]?.delta?.content ?? "";
  return text;
}

await tell({ plain, streamed, wrong: () => plain({}, "gpt-99"), patient: () => plain({ timeout: 800, maxRetries: 5 }) });
