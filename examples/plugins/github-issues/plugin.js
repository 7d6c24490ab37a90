// Lists and opens issues on GitHub. A plugin in JavaScript: reaches one host, with a token that it never sees.
import { httpFetch, log } from "agent:plugin/host@0.1.0";

const REPOSITORY = { type: "string", description: "owner/name", maxLength: 140 };
const TOOLS = [
  {
    name: "list_issues",
    description: "List the newest open issues of a GitHub repository.",
    parameters: { type: "object", properties: { repository: REPOSITORY }, required: ["repository"] },
  },
  {
    name: "open_issue",
    description: "Open an issue in a GitHub repository.",
    parameters: {
      type: "object",
      properties: {
        repository: REPOSITORY,
        title: { type: "string", maxLength: 200 },
        body: { type: "string", maxLength: 10000 },
      },
      required: ["repository", "title"],
    },
  },
];

export function describe() {
  return JSON.stringify({ tools: TOOLS });
}

export function call(input) {
  const { tool, arguments: given } = JSON.parse(input);
  if (!/^[A-Za-z0-9_.-]+\/[A-Za-z0-9_.-]+$/.test(given.repository)) {
    throw "repository must be owner/name";
  }
  const url = `https://api.github.com/repos/${given.repository}/issues`;
  if (tool === "list_issues") {
    const issues = ask({ method: "GET", url: `${url}?per_page=20` });
    return issues.map((issue) => `#${issue.number} ${issue.title}`).join("\n") || "There are no open issues.";
  }
  const made = ask({ method: "POST", url, body: JSON.stringify({ title: given.title, body: given.body ?? "" }) });
  return `Opened #${made.number}: ${made.html_url}`;
}

function ask(request) {
  // The host adds the token: `credential` is the handle of plugin.toml, not the value.
  const headers = { accept: "application/vnd.github+json", "user-agent": "opencrust-github-issues" };
  const answer = JSON.parse(httpFetch(JSON.stringify({ ...request, headers, credential: "gh" })));
  if (answer.status >= 300) {
    log("warn", `${request.method} ${answer.status}`);
    throw `GitHub answered ${answer.status}`;
  }
  return JSON.parse(answer.body);
}
