// Hands a batch from standard input to the consumer, as Lambda does, and prints its answer.
import { readFileSync } from "node:fs";
import { handler } from "./out/consumer.js";

process.stdout.write(JSON.stringify(await handler({ Records: JSON.parse(readFileSync(0, "utf8")) })));
