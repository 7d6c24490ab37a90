// What the models cost: a chart by day, and tables by model and by person. All drawn here, as SVG.

import { get } from "./api.js";
import { h, svg, table } from "./dom.js";

const DAYS = 30;
const WIDTH = 720;
const HEIGHT = 180;
const FLOOR = 34;

export const load = () => get(`/v1/usage?days=${DAYS}`);

export function draw({ days: latest, models, tools, users, limits, alerts, currency }) {
  const days = latest.toReversed();
  const money = (sum) => new Intl.NumberFormat("en", { style: "currency", currency, maximumFractionDigits: 4 }).format(sum);
  const total = (name) => days.reduce((sum, day) => sum + day[name], 0);
  const tokens = (one) => one.input_tokens + one.output_tokens;
  return [
    ...alerts.map((text) => h("div.notice.bad", { role: "alert" }, text)),
    h(
      "div.figures",
      {},
      figure("Tokens, 30 days", days.reduce((sum, day) => sum + tokens(day), 0).toLocaleString("en")),
      figure("Cost, 30 days", money(total("cost"))),
      figure("Answers", total("calls").toLocaleString("en")),
      figure("Tool calls", total("tool_calls").toLocaleString("en")),
    ),
    h("h2", {}, "Tokens a day"),
    chart(days.map((day) => ({ name: day.day, value: tokens(day), text: `${day.day}: ${tokens(day).toLocaleString("en")} tokens, ${money(day.cost)}` }))),
    h("h2", {}, "By model"),
    table("By model", ["Model", "In", "Out", "Cost"], models.map((one) => [one.model, count(one.input_tokens), count(one.output_tokens), price(one, money)]), "No model was asked."),
    h("h2", {}, "By tool"),
    table("By tool", ["Tool", "Calls", "Seconds"], tools.map((one) => [one.tool, count(one.tool_calls), count(one.seconds)]), "No tool was used."),
    h("h2", {}, "By person"),
    table("By person", ["Who", "Tokens", "Cost"], users.map((one) => [one.user, count(tokens(one)), price(one, money)]), "Nobody asked."),
    h("h2", {}, "Limits"),
    table("Limits", ["For", "At most"], limits.map(limit), "None is set. They stand in config.json, under agent.budgets."),
  ];
}

/** What a model or a person cost; calls whose price nobody told us are said to be missing. */
const price = (one, money) => (one.unpriced_calls ? `${money(one.cost)} and ${one.unpriced_calls} calls of unknown price` : money(one.cost));

function limit({ per, name, ...most }) {
  const words = Object.entries(most).map(([what, value]) => `${what.replaceAll("_", " ")}: ${value}`);
  return [[per, name].filter(Boolean).join(" "), words.join(", ")];
}

const count = (number) => number.toLocaleString("en");

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
