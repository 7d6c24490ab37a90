// Markdown to DOM nodes. Text only ever becomes text nodes and attributes of elements that are made here, so nothing in
// a message can become markup or script. Links lead to http, https and mailto only; an image becomes a link to it, since
// loading it would tell a stranger's server what was said here.

const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([\w+#.-]*)[^`]*$/;
const HEADING = /^ {0,3}(#{1,6})\s+(.*?)\s*#*\s*$/;
const RULE = /^ {0,3}([-*_])(?:\s*\1){2,}\s*$/;
const ITEM = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/;
const QUOTE = /^ {0,3}>\s?(.*)$/;
const TABLE_LINE = /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;
const DEEPEST = 12;
const LONGEST_LINE = 10_000; // beyond it, marks inside a line stay as they are: matching them would take too long

/** A fragment for `text`. */
export function render(text) {
  const root = document.createDocumentFragment();
  blocks(root, text.replace(/\r\n?/g, "\n").split("\n"), 0);
  return root;
}

function make(name, ...children) {
  const element = document.createElement(name);
  element.append(...children);
  return element;
}

function blocks(parent, lines, depth) {
  let at = 0;
  while (at < lines.length) {
    const line = lines[at];
    let found;
    if (!line.trim()) {
      at += 1;
    } else if ((found = FENCE.exec(line))) {
      at = fence(parent, lines, at, found);
    } else if ((found = HEADING.exec(line))) {
      const heading = make(`h${Math.min(found[1].length + 2, 5)}`);
      inline(heading, found[2], depth);
      parent.append(heading);
      at += 1;
    } else if (RULE.test(line)) {
      parent.append(make("hr"));
      at += 1;
    } else if (QUOTE.test(line) && depth < DEEPEST) {
      const inner = [];
      while (at < lines.length && (found = QUOTE.exec(lines[at]))) {
        inner.push(found[1]);
        at += 1;
      }
      const quote = make("blockquote");
      blocks(quote, inner, depth + 1);
      parent.append(quote);
    } else if (ITEM.test(line) && depth < DEEPEST) {
      at = list(parent, lines, at, depth);
    } else if (line.includes("|") && TABLE_LINE.test(lines[at + 1] ?? "") && lines[at + 1].includes("-")) {
      at = table(parent, lines, at, depth);
    } else {
      const said = [];
      do {
        said.push(lines[at].trim());
        at += 1;
      } while (at < lines.length && lines[at].trim() && !startsBlock(lines[at]));
      const paragraph = make("p");
      said.forEach((part, index) => {
        if (index) {
          paragraph.append(make("br"));
        }
        inline(paragraph, part, depth);
      });
      parent.append(paragraph);
    }
  }
}

function startsBlock(line) {
  return FENCE.test(line) || HEADING.test(line) || RULE.test(line) || QUOTE.test(line) || ITEM.test(line);
}

function fence(parent, lines, at, opened) {
  const [, mark, language] = opened;
  const inside = [];
  at += 1;
  while (at < lines.length && !(lines[at].trim().startsWith(mark) && !lines[at].trim().slice(mark.length).trim())) {
    inside.push(lines[at]);
    at += 1;
  }
  const code = inside.join("\n");
  const button = make("button", "Copy");
  button.type = "button";
  button.className = "copy";
  button.dataset.copy = code;
  const block = make("div", make("header", make("span", language || "text"), button), make("pre", make("code", code)));
  block.className = "block";
  parent.append(block);
  return at + 1;
}

function list(parent, lines, at, depth) {
  const [, indent, mark] = ITEM.exec(lines[at]);
  const ordered = /\d/.test(mark);
  const element = make(ordered ? "ol" : "ul");
  if (ordered && parseInt(mark, 10) !== 1) {
    element.start = parseInt(mark, 10);
  }
  while (at < lines.length) {
    const found = ITEM.exec(lines[at]);
    if (!found || found[1].length > indent.length + 1 || found[1].length < indent.length || /\d/.test(found[2]) !== ordered) {
      break;
    }
    const inner = [found[3]];
    const content = found[1].length + found[2].length + 1;
    at += 1;
    while (at < lines.length) {
      const line = lines[at];
      const depthOfLine = line.length - line.trimStart().length;
      const continues = line.trim() ? depthOfLine > indent.length + 1 : (lines[at + 1] ?? "").startsWith(" ".repeat(content));
      const lazy = line.trim() && inner.at(-1).trim() && !startsBlock(line);
      if (!continues && !lazy) {
        break;
      }
      inner.push(line.slice(Math.min(depthOfLine, content)));
      at += 1;
    }
    const item = make("li");
    if (inner.length === 1) {
      inline(item, inner[0], depth);
    } else {
      blocks(item, inner, depth + 1);
      const first = item.firstElementChild;
      if (first?.tagName === "P") {
        first.replaceWith(...first.childNodes); // a tight item
      }
    }
    element.append(item);
    while (at < lines.length && !lines[at].trim() && ITEM.test(lines[at + 1] ?? "")) {
      at += 1;
    }
  }
  parent.append(element);
  return at;
}

function cells(line) {
  return line.trim().replace(/^\||\|$/g, "").split("|").map((cell) => cell.trim());
}

function table(parent, lines, at, depth) {
  const row = (name, line) => {
    const element = make("tr");
    for (const text of cells(line)) {
      const cell = make(name);
      inline(cell, text, depth);
      element.append(cell);
    }
    return element;
  };
  const head = make("thead", row("th", lines[at]));
  const body = make("tbody");
  at += 2;
  while (at < lines.length && lines[at].includes("|")) {
    body.append(row("td", lines[at]));
    at += 1;
  }
  const wide = make("div", make("table", head, body));
  wide.className = "wide";
  parent.append(wide);
  return at;
}

// One alternative for each thing inside a line, the longest marks first. The groups are told apart by name.
const INLINE = new RegExp(
  [
    String.raw`\\(?<escaped>[\\\`*_{}[\]()#+\-.!~|>])`,
    String.raw`(?<ticks>\`+)(?<code>.+?)\k<ticks>(?!\`)`,
    String.raw`!?\[(?<label>[^\[\]]*)\]\(\s*<?(?<target>[^\s<>()]*(?:\([^\s()]*\)[^\s<>()]*)*)>?(?:\s+"[^"]*")?\s*\)`,
    String.raw`\*\*(?<strong>\S(?:.*?\S)?)\*\*`,
    String.raw`(?<!\w)__(?<strong2>\S(?:.*?\S)?)__(?!\w)`,
    String.raw`~~(?<gone>\S(?:.*?\S)?)~~`,
    String.raw`\*(?<em>[^\s*](?:[^*]*[^\s*])?)\*`,
    String.raw`(?<!\w)_(?<em2>[^\s_](?:[^_]*[^\s_])?)_(?!\w)`,
    String.raw`<?(?<url>https?:\/\/[^\s<>"'\`]*[^\s<>"'\`.,:;!?)\]*_])>?`,
  ].join("|"),
  "g",
);

function inline(parent, text, depth) {
  if (depth > DEEPEST || text.length > LONGEST_LINE) {
    parent.append(text);
    return;
  }
  let last = 0;
  for (const found of text.matchAll(INLINE)) {
    parent.append(text.slice(last, found.index));
    last = found.index + found[0].length;
    parent.append(piece(found, depth + 1));
  }
  parent.append(text.slice(last));
}

function piece(found, depth) {
  const { escaped, code, label, target, strong, strong2, gone, em, em2, url } = found.groups;
  if (escaped !== undefined) {
    return escaped;
  }
  if (code !== undefined) {
    return make("code", code.length > 2 ? code.replace(/^ (.*) $/, "$1") : code);
  }
  if (target !== undefined) {
    return anchor(target, label || target, depth) ?? found[0];
  }
  if (url !== undefined) {
    return anchor(url, url, DEEPEST + 1) ?? found[0];
  }
  const [name, inner] =
    (strong ?? strong2) !== undefined ? ["strong", strong ?? strong2] : gone !== undefined ? ["s", gone] : ["em", em ?? em2];
  const element = make(name);
  inline(element, inner, depth);
  return element;
}

function anchor(target, label, depth) {
  let url;
  try {
    url = new URL(target);
  } catch {
    return null;
  }
  if (!["http:", "https:", "mailto:"].includes(url.protocol)) {
    return null;
  }
  const element = make("a");
  element.href = url.href;
  element.target = "_blank";
  element.rel = "noopener noreferrer";
  element.title = url.href;
  inline(element, label, depth);
  for (const nested of element.querySelectorAll("a")) {
    nested.replaceWith(...nested.childNodes);
  }
  return element;
}
