// What is true now, read by the server a moment ago: gauges, processes, sockets, and where that
// differs from the journal.

const PROCESSES_SHOWN = 12, DIFFERENCES_SHOWN = 12;
const UNITS = { memory: size, pids: String, cpu: percent, cpu_pressure: percent, memory_pressure: percent, io_pressure: percent };

class Now {
  constructor(root) {
    this.root = root;
  }

  /** Show a state; null: the server has sent none yet. */
  show(now) {
    this.root.hidden = now === null;
    const before = this.last;
    this.last = now;
    if (now === null) return;
    for (const gauge of now.gauges) if (gauge.name === "cpu") gauge.used = cpuPercent(before, now);
    const parts = [el("h2", {}, `${word("now")}: ${now.status}`),
                   el("div", { class: "gauges" }, ...now.gauges.map((gauge) => this.gauge(gauge))), this.events(now.events)];
    if (now.processes.length) parts.push(this.processes(now.processes));
    if (now.sockets.length) parts.push(el("h3", {}, word("sockets")), list(now.sockets));
    if (now.status === "running") parts.push(...this.differences(now.differs));
    this.root.replaceChildren(...parts.filter(Boolean));
  }

  gauge({ name, used, limit }) {
    const unit = UNITS[name], label = `${word(name)}: ${unit(used)}`;
    const meter = limit === null ? el("span")
      : el("meter", { min: 0, max: limit, value: Math.min(used, limit), high: limit * 0.9, "aria-label": label, "data-gauge": name });
    const text = limit === null ? unit(used) : name.endsWith("pressure") ? unit(used) : `${unit(used)} / ${unit(limit)}`;
    return el("div", { class: "gauge", "data-used": used, "data-limit": limit ?? "" }, el("span", {}, word(name)), meter, el("span", {}, text));
  }

  events(events) {
    const found = Object.entries(events).filter(([, count]) => count > 0);
    return found.length ? el("p", { class: "alarm" }, found.map(([name, count]) => word(name, { n: count })).join(" · ")) : null;
  }

  processes(processes) {
    const heads = ["pid_host", "pid_inside", "name", "memory"].map((key) => el("th", { scope: "col" }, word(key)));
    const rows = processes.slice(0, PROCESSES_SHOWN).map((each) => el("tr", { "data-pid": each.pid },
      ...[each.pid, each.inside, `${printable(each.name)} ${each.state[0]}`, size(each.bytes)].map((cell) => el("td", {}, String(cell)))));
    const more = processes.length - rows.length;
    return el("div", {}, el("table", {}, el("thead", {}, el("tr", {}, ...heads)), el("tbody", {}, ...rows)),
              more > 0 ? el("p", {}, word("hidden_more", { n: more })) : null);
  }

  differences(differs) {
    if (!differs.length) return [el("h3", { class: "agrees" }, word("all_agrees"))];
    const texts = differs.slice(0, DIFFERENCES_SHOWN).map((each) => {
      const key = each.now === "on" || each.now === "off" ? `differs_${each.now}` : "differs_value";
      return word(key, { ...each, kind: word(`kind:${each.kind}`) });
    });
    const more = differs.length - texts.length;
    if (more > 0) texts.push(word("hidden_more", { n: more }));
    return [el("h3", {}, word("differs")), list(texts, "differs")];
  }
}

/** CPU usage between two readings: 100 for one processor. */
function cpuPercent(before, now) {
  const taken = now.taken_ns - (before?.taken_ns ?? now.taken_ns);
  return taken > 0 ? Math.max(0, Math.round(1000 * (now.cpu_ns - before.cpu_ns) / taken) / 10) : 0;
}

function percent(value) {
  return `${value} %`;
}
