// What each program is told, and how it tells what came of it.
export const URL = process.env.TALLY_V1;
export const KEY = process.env.TALLY_KEY;
export const MODEL = process.env.TALLY_MODEL;
export const PROMPT = "Tell me of a fox.";

export async function tell(kinds) {
  try {
    console.log(JSON.stringify({ text: await kinds[process.argv[2]]() }));
  } catch (error) {
    console.log(JSON.stringify({ error: `${error.name}: ${error.message}` }));
  }
}
