// What the models cost: a chart by day, and tables by model and by person. All drawn here, as SVG.

import { get } from "./api.js";
import { h, svg, table } from "./dom.js";

const DAYS = 30;
const WIDTH = 720;
const HEIGHT = 180;
const FLOOR = 34;

export const load = () => get(`/v1/usage?days=${DAYS}`);

export function draw({ days, models = [], users = [], limits = {}, currency = "USD" }) {
  const money = (sum) => new Intl.NumberFormat("en", { style: "currency", currency, maximumFractionDigits: 4 }).format(sum);
  const total = (name) => days.reduce((sum, day) => sum + (day[name] ?? 0), 0);
  const tokens = (one) => (one.input_tokens ?? 0) + (one.output_tokens ?? 0);
  return [
    h(
      "div.figures",
      {},
      figure("Tokens, 30 days", days.reduce((sum, day) => sum + tokens(day), 0).toLocaleString("en")),
      figure("Cost, 30 days", money(total("cost"))),
      figure("Answers", total("calls").toLocaleString("en")),
      figure("Tool calls", total("tool_calls").toLocaleString("en")),
    ),
    h("h2", {}, "Tokens a day"),
    chart(days.map((day) => ({ name: day.day, value: tokens(day), text: `${day.day}: ${tokens(day).toLocaleString("en")} tokens, ${money(day.cost ?? 0)}` }))),
    h("h2", {}, "By model"),
    table("By model", ["Model", "In", "Out", "Cost"], models.map((one) => [one.model, count(one.input_tokens), count(one.output_tokens), one.cost === null ? "price unknown" : money(one.cost)]), "No model was asked."),
    h("h2", {}, "By person"),
    table("By person", ["Who", "Tokens", "Cost"], users.map((one) => [one.user, count(tokens(one)), money(one.cost ?? 0)]), "Nobody asked."),
    h("h2", {}, "Limits"),
    table("Limits", ["Limit", "Value"], Object.entries(limits).filter(([, value]) => value !== null).map(([name, value]) => [name.replaceAll("_", " "), String(value)]), "None is set: config.json, under budgets."),
  ];
}

const count = (number) => (number ?? 0).toLocaleString("en");

function figure(name, value) {
  return h("div.figure", {}, h("strong", {}, value), h("span.muted", {}, name));
}

function chart(bars) {
  const most = Math.max(1, ...bars.map((bar) => bar.value));
  const step = WIDTH / Math.max(bars.length, 1);
  const drawn = bars.map((bar, at) => {
    const height = bar.value === 0 ? 0 : Math.max(2, ((HEIGHT - FLOOR) * bar.value) / most);
    const rect = svg("rect", { x: at * step + step * 0.14, y: HEIGHT - FLOOR - height, width: step * 0.72, height, rx: 3, class: "bar" });
    rect.append(svg("title", {}, bar.text));
    return rect;
  });
  const label = (bar, x, anchor) => svg("text", { x, y: HEIGHT - 8, "text-anchor": anchor, class: "tick" }, bar.name);
  const labels = bars.length ? [label(bars[0], 0, "start"), label(bars.at(-1), WIDTH, "end")] : [];
  const base = svg("line", { x1: 0, x2: WIDTH, y1: HEIGHT - FLOOR, y2: HEIGHT - FLOOR, class: "base" });
  const words = `Tokens a day over ${bars.length} days, at most ${most.toLocaleString("en")}`;
  return svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "chart", role: "img", "aria-label": words }, base, ...drawn, ...labels);
}
