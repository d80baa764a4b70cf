// Checks a report: valid HTML, and accessible in a real browser, light, dark and printed, at desk and phone width.
// `cargo xtask page` installs what it needs and runs it:
//
//   node check.mjs /path/to/report.html [directory for screenshots]
//
// Exits with 1 when something is wrong.
import { readFileSync } from "node:fs";
import puppeteer from "puppeteer-core";
import { HtmlValidate } from "html-validate";
const [, , file, pictures] = process.argv;
let wrong = 0;
const validator = new HtmlValidate({ extends: ["html-validate:standard"] });
const report = await validator.validateFile(file);
for (const result of report.results) for (const m of result.messages) console.log("html:", m.line, m.ruleId, m.message);
wrong += report.valid ? 0 : 1;
console.log("html-validate", report.valid ? "ok" : "FAILED");
const axe = readFileSync("node_modules/axe-core/axe.min.js", "utf8");
const browser = await puppeteer.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });
// Paper is white whatever the screen is.
const looks = [["light", "desk", 1000], ["light", "phone", 360], ["dark", "desk", 1000], ["dark", "phone", 360], ["dark", "print", 720]];
for (const [scheme, name, width] of looks) {
  const page = await browser.newPage();
  await page.setBypassCSP(true);
  await page.setViewport({ width, height: 900 });
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
  if (name === "print") await page.emulateMediaType("print");
  await page.goto("file://" + file);
  await page.evaluate(axe);
  const found = await page.evaluate(async () => await axe.run({ runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"] }));
  const [wide, back] = await page.evaluate(() => [
    document.documentElement.scrollWidth > window.innerWidth, getComputedStyle(document.body).backgroundColor]);
  const dark_paper = name === "print" && back !== "rgb(255, 255, 255)";
  wrong += found.violations.length + (wide ? 1 : 0) + (dark_paper ? 1 : 0);
  console.log("axe", scheme, name, found.violations.length, "violations", found.passes.length, "passes",
    wide ? "SCROLLS SIDEWAYS" : "", dark_paper ? "PRINTS ON DARK PAPER" : "");
  for (const v of found.violations) console.log("  ", v.id, v.help, v.nodes.map(n => n.target.join(" ")).slice(0, 3));
  if (pictures) await page.screenshot({ path: `${pictures}/${scheme}-${name}.png`, fullPage: true });
  await page.close();
}
await browser.close();
process.exit(wrong ? 1 : 0);
