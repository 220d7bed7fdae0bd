'use strict';
// Draws the run that stands in the page as JSON. Every text goes in by textContent: what a host said stays text.
(() => {
  const run = JSON.parse(document.getElementById('run').textContent);
  const page = document.getElementById('page');
  const KINDS = ['connect', 'observe', 'package', 'user', 'directory', 'release', 'file', 'unit', 'exec'];
  const total = Math.max(run.end, 1);

  function make(tag, className, text) {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  }

  function add(parent, ...children) {
    parent.append(...children);
    return parent;
  }

  function time(ms) {
    if (ms < 1000) return `${Math.round(ms)} ms`;
    if (ms < 10000) return `${(ms / 1000).toFixed(2)} s`;
    if (ms < 60000) return `${(ms / 1000).toFixed(1)} s`;
    const seconds = Math.round(ms / 1000);
    return `${Math.floor(seconds / 60)} min ${String(seconds % 60).padStart(2, '0')} s`;
  }

  function median(values) {
    if (values.length === 0) return 0;
    const sorted = [...values].sort((a, b) => a - b);
    const middle = sorted.length >> 1;
    return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  }

  const length = (span) => span.end - span.start;
  const sum = (values) => values.reduce((a, b) => a + b, 0);
  const count = (n, word) => `${n} ${word}${n === 1 ? '' : 's'}`;
  const kindClass = (kind) => `k-${KINDS.includes(kind) ? kind : 'other'}`;
  const natural = new Intl.Collator('en', { numeric: true }).compare;

  // What is asked of a host again and again.
  run.hosts.forEach((host, index) => {
    const of = (kind) => sum(host.spans.filter((span) => span.kind === kind).map(length));
    host.index = index;
    host.steps = host.spans.filter((span) => span.stage !== 'observe');
    host.connect = of('connect');
    host.observe = of('observe');
    host.working = sum(host.steps.map(length));
    host.busy = host.connect + host.observe + host.working;
    host.waiting = sum(host.waits.map(length));
    host.end = Math.max(0, ...host.spans.map((span) => span.end));
    host.slowest = [...host.spans].sort((a, b) => length(b) - length(a))[0];
    host.open = run.hosts.length <= 5;
  });

  // ---- heading ----

  function heading() {
    const failed = run.hosts.filter((host) => host.result === 'failed').length;
    const changed = run.hosts.filter((host) => host.result === 'changed').length;
    document.title = `${run.command} ${run.cluster}: ${time(run.end)}`;
    add(page, make('h1', '', `bootstrap ${run.command} ${run.cluster}`));
    const began = new Date(run.began);
    const ended = run.finished || run.command === 'plan' ? '' : ' · ended before its time';
    add(page, make('p', 'soft', `${began.toISOString().slice(0, 16).replace('T', ' ')} UTC · bootstrap ${run.version}${ended}`));
    const cards = make('div', 'cards');
    const card = (value, label, className) => add(cards, add(make('div', 'card'), make('b', className, value), make('span', '', label)));
    card(time(run.end), 'in all');
    card(String(run.hosts.length), failed || changed ? `hosts, ${changed} changed` : 'hosts');
    if (failed) card(String(failed), failed === 1 ? 'host failed' : 'hosts failed', 'bad');
    card(String(sum(run.hosts.map((host) => host.steps.length))), 'steps');
    const connects = run.hosts.map((host) => host.connect).filter((ms) => ms > 0);
    card(time(median(connects)), 'median connect');
    card(time(Math.max(0, ...connects)), 'slowest connect');
    card(time(median(run.hosts.map((host) => host.observe).filter((ms) => ms > 0))), 'median observe');
    for (const gate of run.gates) card(time(length(gate)), `gate ${gate.name}${gate.result === 'done' ? '' : ' not met'}`, gate.result === 'failed' ? 'bad' : '');
    add(page, cards);
    for (const host of run.hosts) {
      if (host.error) add(page, add(make('p', 'note failed'), make('b', '', host.name), host.error));
    }
    for (const warning of run.warnings) {
      add(page, add(make('p', 'note'), make('b', '', warning.host || 'warning'), warning.message));
    }
  }

  // ---- tip ----

  const tip = make('div');
  tip.id = 'tip';
  tip.hidden = true;

  function tipAt(x, y, words) {
    tip.replaceChildren(make('b', '', words[0]), words.slice(1).filter(Boolean).join('\n'));
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(4, Math.min(x + 14, innerWidth - box.width - 8))}px`;
    tip.style.top = `${y + 18 + box.height > innerHeight ? Math.max(4, y - box.height - 10) : y + 18}px`;
  }

  const told = new WeakMap();

  function explain(element, words) {
    told.set(element, words);
    element.setAttribute('aria-label', words.filter(Boolean).join(', '));
  }

  function listen(chart) {
    chart.addEventListener('mousemove', (event) => {
      const words = told.get(event.target);
      if (words) tipAt(event.clientX, event.clientY, words);
      else tip.hidden = true;
    });
    chart.addEventListener('mouseleave', () => { tip.hidden = true; });
    chart.addEventListener('focusin', (event) => {
      const words = told.get(event.target);
      const box = event.target.getBoundingClientRect();
      if (words && event.target.matches(':focus-visible')) tipAt(box.left, box.bottom, words);
    });
  }

  // ---- timeline ----

  const LETTER = 6.4; // pixels, about
  const NAMES = 260; // the width of the column with names, as in the style

  const view = { zoom: 1, sort: 'inventory', filter: '', chart: null, inner: null, head: null, rows: null, grid: null };

  function place(element, start, end) {
    element.style.left = `${(start / total) * 100}%`;
    element.style.width = `${(Math.max(end - start, 0) / total) * 100}%`;
    return element;
  }

  function bar(kind, name, start, end, words, result) {
    const element = place(make('div', `span ${kind}`), start, end);
    if (result === 'failed' || result === 'unfinished') element.classList.add(result);
    if (name) {
      element.words = [name, name.split(' ')[0]].map((text) => (result === 'failed' ? `✗ ${text}` : text));
      element.share = (end - start) / total;
    }
    explain(element, words);
    return element;
  }

  function spanWords(host, span) {
    const state = { done: '', failed: 'failed', unfinished: 'began, and nothing said that it ended' }[span.result];
    return [span.name, `${host.name} · ${span.stage} · ${time(length(span))}`, `${time(span.start)} to ${time(span.end)}`, state, span.output || ''];
  }

  function spanBar(host, span) {
    return bar(kindClass(span.kind), span.name, span.start, span.end, spanWords(host, span), span.result);
  }

  function row(className, text, took) {
    const line = make('div', `row ${className}`);
    const name = make('div', 'name');
    const track = make('div', 'track');
    const label = make('span', 'text', text);
    label.title = text;
    add(name, label);
    if (took) add(name, make('span', 'took', took));
    add(line, name, track);
    return { line, name, track };
  }

  function runRows() {
    const stages = row('', 'stages', time(run.end));
    for (const stage of run.stages) {
      const share = Math.round((length(stage) / total) * 100);
      add(stages.track, bar('k-stage', stage.name, stage.start, stage.end, [stage.name, `${time(length(stage))}, ${share} % of the run`, `${time(stage.start)} to ${time(stage.end)}`]));
    }
    const lines = [stages.line];
    if (run.gates.length > 0) {
      const gates = row('', 'gates', time(sum(run.gates.map(length))));
      for (const gate of run.gates) {
        const reasons = gate.reasons.map((reason) => `${time(reason.at)}  ${reason.text}`).join('\n');
        const met = gate.result === 'done' ? `met: ${gate.detail}` : `not met: ${gate.detail}`;
        const words = [`gate ${gate.name}`, `${time(length(gate))}, ${time(gate.start)} to ${time(gate.end)}`, reasons, met, gate.output || ''];
        add(gates.track, bar('k-gate', gate.name, gate.start, gate.end, words, gate.result));
      }
      lines.push(gates.line);
    }
    return lines;
  }

  function hostRows(host, tight) {
    const { line, name, track } = row(`host ${tight && !host.open ? 'tight' : ''} ${host.result === 'failed' ? 'failed' : ''}`, (host.result === 'failed' ? '✗ ' : '') + host.name, time(host.busy));
    const fold = make('button', 'fold', host.open ? '▾' : '▸');
    fold.setAttribute('aria-expanded', String(host.open));
    fold.setAttribute('aria-label', `steps of ${host.name}`);
    fold.addEventListener('click', () => { host.open = !host.open; draw(); });
    name.prepend(fold);
    for (const wait of host.waits) {
      add(track, bar('wait', '', wait.start, wait.end, [`waits: ${wait.reason}`, `${host.name} · ${time(length(wait))}`, `${time(wait.start)} to ${time(wait.end)}`]));
    }
    for (const span of host.spans) add(track, spanBar(host, span));
    if (!host.open) return [line];
    const steps = host.spans.map((span) => {
      const { line, name, track } = row('step', cut(span.name, 27), time(length(span)));
      name.querySelector('.text').title = span.name;
      const element = spanBar(host, span);
      element.words = undefined;
      const label = make('span', 'label', `${span.result === 'done' ? '' : '✗ '}${time(length(span))}`);
      // Beside the bar, on the side where there is room.
      if (span.end / total < 0.9) label.style.left = `${(span.end / total) * 100}%`;
      else label.style.right = `${(1 - span.start / total) * 100}%`;
      add(track, element, label);
      return line;
    });
    return [line, ...steps];
  }

  const ORDERS = {
    inventory: ['as in the inventory', (a, b) => a.index - b.index],
    name: ['by name', (a, b) => natural(a.name, b.name)],
    busy: ['slowest first', (a, b) => b.busy - a.busy],
    end: ['last to end first', (a, b) => b.end - a.end],
    waiting: ['longest wait first', (a, b) => b.waiting - a.waiting],
    failed: ['failed first', (a, b) => (b.result === 'failed') - (a.result === 'failed') || a.index - b.index],
  };

  function shown() {
    const words = view.filter.toLowerCase().split(/[\s,]+/).filter(Boolean);
    const hosts = run.hosts.filter((host) => words.length === 0 || words.some((word) => host.name.toLowerCase().includes(word)));
    return hosts.sort(ORDERS[view.sort][1]);
  }

  // A round number of milliseconds that leaves room for its label.
  function tickEvery(width) {
    const least = (total * 90) / width;
    const power = 10 ** Math.floor(Math.log10(least));
    return [1, 2, 5, 10].map((n) => n * power).find((step) => step >= least);
  }

  function ticks() {
    const width = view.head.clientWidth;
    const every = Math.max(1, tickEvery(Math.max(width, 100)));
    view.head.replaceChildren();
    view.grid.replaceChildren();
    for (let at = 0; at <= total; at += every) {
      const label = make('span', 'tick', time(at));
      label.style.left = `${(at / total) * 100}%`;
      const line = make('i');
      line.style.left = `${(at / total) * 100}%`;
      add(view.grid, line);
      if (at / total < 0.97 || at === 0) add(view.head, label);
    }
    for (const stage of run.stages) {
      const line = make('i', 'edge');
      line.style.left = `${(stage.end / total) * 100}%`;
      add(view.grid, line);
    }
  }

  // Each bar says as much as it has room for: its name, its kind, or nothing.
  function words() {
    const width = view.head.clientWidth;
    for (const element of view.rows.querySelectorAll('.span')) {
      if (!element.words) continue;
      const letters = (element.share * width - 8) / LETTER;
      const text = element.words.find((word) => word.length <= letters) || '';
      if (text !== element.textContent) element.replaceChildren(...(text ? [make('em', '', text)] : []));
    }
  }

  // Of a path the end tells more than the beginning.
  function cut(name, letters) {
    const slash = name.indexOf('/');
    if (name.length <= letters || slash < 0) return name;
    return `${name.slice(0, slash)}…${name.slice(slash + 1 + name.length - letters)}`;
  }

  function draw() {
    const hosts = shown();
    const tight = hosts.length > 12;
    view.rows.replaceChildren(...runRows(), ...hosts.flatMap((host) => hostRows(host, tight)));
    if (hosts.length === 0) add(view.rows, row('', 'no such host').line);
    words();
  }

  // Keeps the moment that is under `x` (in the chart) where it is.
  function zoom(to, x) {
    const labels = NAMES;
    const from = view.zoom;
    const at = x === undefined ? (view.chart.clientWidth - labels) / 2 : Math.max(0, x - labels);
    const moment = (view.chart.scrollLeft + at) / from;
    view.zoom = Math.min(200, Math.max(1, to));
    view.inner.style.width = view.zoom === 1 ? '100%' : `calc(${labels}px + (100% - ${labels}px) * ${view.zoom})`;
    view.chart.scrollLeft = moment * view.zoom - at;
    ticks();
    words();
  }

  function controls() {
    const line = make('div', 'bar');
    const button = (text, title, action) => {
      const element = make('button', '', text);
      element.title = title;
      element.addEventListener('click', action);
      add(line, element);
    };
    button('−', 'zoom out', () => zoom(view.zoom / 1.6));
    button('+', 'zoom in', () => zoom(view.zoom * 1.6));
    button('fit', 'the whole run', () => zoom(1));
    button('unfold all', 'a line for each step', () => { run.hosts.forEach((host) => { host.open = true; }); draw(); });
    button('fold all', 'a line for each host', () => { run.hosts.forEach((host) => { host.open = false; }); draw(); });
    const sort = make('select');
    for (const [key, [text]] of Object.entries(ORDERS)) {
      const option = make('option', '', text);
      option.value = key;
      add(sort, option);
    }
    sort.addEventListener('change', () => { view.sort = sort.value; draw(); });
    add(line, add(make('label', '', 'hosts '), sort));
    const filter = make('input');
    filter.type = 'search';
    filter.placeholder = 'part of a name';
    filter.addEventListener('input', () => { view.filter = filter.value; draw(); });
    add(line, add(make('label', '', 'only '), filter));
    add(line, make('span', 'soft', 'Ctrl and the wheel zoom; a host’s triangle shows its steps'));
    return line;
  }

  function legend() {
    const line = make('div', 'legend');
    const used = new Set(run.hosts.flatMap((host) => host.spans.map((span) => (KINDS.includes(span.kind) ? span.kind : 'other'))));
    const entry = (kind, text) => {
      const box = make('span');
      add(box, make('i', `k-${kind}`), text);
      add(line, box);
    };
    for (const kind of [...KINDS, 'other']) if (used.has(kind)) entry(kind, kind);
    entry('wait', 'waiting');
    if (run.gates.length > 0) entry('gate', 'gate');
    return line;
  }

  function timeline() {
    add(page, make('h2', '', 'Timeline'), controls(), legend());
    view.chart = make('div', 'chart');
    view.inner = make('div', 'inner');
    const head = row('head', 'host', 'busy');
    view.head = head.track;
    view.grid = make('div', 'grid');
    view.rows = make('div');
    add(page, add(view.chart, add(view.inner, view.grid, head.line, view.rows)));
    listen(view.chart);
    view.chart.addEventListener('wheel', (event) => {
      if (!event.ctrlKey) return;
      event.preventDefault();
      zoom(view.zoom * (event.deltaY < 0 ? 1.25 : 0.8), event.clientX - view.chart.getBoundingClientRect().left);
    }, { passive: false });
    addEventListener('resize', () => { ticks(); words(); });
    draw();
    ticks();
  }

  // ---- tables ----

  // Columns are [heading, value of a row, how it is shown]; a text column stands left. Without `sortBy` in the order given.
  function table(columns, rows, sortBy, most) {
    const box = make('div', 'tables');
    const element = make('table');
    let order = { column: sortBy, down: true };
    let limit = most;
    function fill() {
      const value = columns[order.column ?? 0][1];
      const compare = (a, b) => (typeof value(a) === 'string' ? natural(value(a), value(b)) : value(a) - value(b));
      const sorted = order.column === undefined ? rows : [...rows].sort((a, b) => (order.down ? compare(b, a) : compare(a, b)));
      const head = make('tr');
      columns.forEach(([text, of], index) => {
        const cell = make('th', rows.length > 0 && typeof of(rows[0]) === 'string' ? 'left' : '');
        const button = make('button', '', text);
        if (index === order.column) cell.setAttribute('aria-sort', order.down ? 'descending' : 'ascending');
        button.addEventListener('click', () => { order = { column: index, down: index === order.column ? !order.down : typeof of(rows[0]) !== 'string' }; fill(); });
        add(head, add(cell, button));
      });
      const body = sorted.slice(0, limit).map((entry) => {
        const line = make('tr');
        for (const [, of, show] of columns) {
          const cell = make('td', typeof of(entry) === 'string' ? 'left' : '', show ? show(of(entry), entry) : of(entry));
          cell.title = cell.textContent;
          add(line, cell);
        }
        return line;
      });
      element.replaceChildren(add(make('thead'), head), add(make('tbody'), ...body));
    }
    fill();
    add(box, element);
    if (rows.length > most) {
      const button = make('button', '', `all ${rows.length}`);
      button.addEventListener('click', () => { limit = rows.length; fill(); button.remove(); });
      add(box, add(make('p'), button));
    }
    return box;
  }

  function stageTable() {
    const rows = run.stages.map((stage) => {
      // One host's time in a stage: what it did itself.
      const hosts = run.hosts.map((host) => ({ host, spans: host.spans.filter((span) => span.stage === stage.name) })).filter((entry) => entry.spans.length > 0);
      const times = hosts.map((entry) => sum(entry.spans.map(length)));
      const most = Math.max(0, ...times);
      const gates = run.gates.filter((gate) => gate.start >= stage.start && gate.end <= stage.end);
      return {
        name: stage.name, took: length(stage), hosts: hosts.length,
        steps: stage.name === 'observe' ? 0 : sum(hosts.map((entry) => entry.spans.length)),
        median: median(times), most, slowest: most > 0 ? hosts[times.indexOf(most)].host.name : '', gate: sum(gates.map(length)),
      };
    });
    const columns = [
      ['stage', (r) => r.name],
      ['took', (r) => r.took, time],
      ['of the run', (r) => r.took / total, (share) => `${Math.round(share * 100)} %`],
      ['hosts', (r) => r.hosts],
      ['steps', (r) => r.steps],
      ['median host', (r) => r.median, time],
      ['slowest host', (r) => r.most, time],
      ['which', (r) => r.slowest],
      ['in gates', (r) => r.gate, (ms) => (ms > 0 ? time(ms) : '–')],
    ];
    add(page, make('h2', '', 'Stages'), table(columns, rows, undefined, 50));
  }

  function stepTable() {
    const steps = new Map();
    for (const host of run.hosts) {
      for (const span of host.spans) {
        const key = `${span.stage}\n${span.name}`;
        if (!steps.has(key)) steps.set(key, { name: span.name, stage: span.stage, spans: [] });
        steps.get(key).spans.push({ host: host.name, took: length(span), failed: span.result !== 'done' });
      }
    }
    const rows = [...steps.values()].map((step) => {
      const times = step.spans.map((span) => span.took);
      const most = Math.max(...times);
      return {
        name: step.name, stage: step.stage, hosts: times.length, median: median(times), most, sum: sum(times),
        slowest: step.spans[times.indexOf(most)].host, failed: step.spans.filter((span) => span.failed).length,
      };
    });
    const columns = [
      ['step', (r) => r.name],
      ['stage', (r) => r.stage],
      ['hosts', (r) => r.hosts],
      ['median', (r) => r.median, time],
      ['slowest', (r) => r.most, time],
      ['on', (r) => r.slowest],
      ['all hosts together', (r) => r.sum, time],
      ['failed', (r) => r.failed, (n) => (n > 0 ? `✗ ${n}` : '–')],
    ];
    add(page, make('h2', '', 'Slowest steps'), table(columns, rows, 4, 15));
  }

  function hostTable() {
    const columns = [
      ['host', (r) => r.name],
      ['result', (r) => r.result],
      ['busy', (r) => r.busy, time],
      ['connect', (r) => r.connect, time],
      ['observe', (r) => r.observe, time],
      ['steps', (r) => r.working, time],
      ['waited', (r) => r.waiting, time],
      ['last ended at', (r) => r.end, time],
      ['longest', (r) => (r.slowest ? r.slowest.name : ''), (name, r) => (r.slowest ? `${name} (${time(length(r.slowest))})` : '')],
    ];
    add(page, make('h2', '', 'Slowest hosts'), table(columns, run.hosts, 2, 15));
  }

  function failures() {
    const failed = run.hosts.flatMap((host) => host.spans.filter((span) => span.output).map((span) => [`${host.name} · ${span.name}`, span.output]));
    for (const gate of run.gates) if (gate.output) failed.push([`gate ${gate.name}: ${gate.detail}`, gate.output]);
    if (failed.length === 0) return;
    add(page, make('h2', '', 'What failed steps and gates printed'));
    for (const [title, output] of failed) add(page, make('p', '', title), make('pre', '', output));
  }

  heading();
  timeline();
  stageTable();
  stepTable();
  hostTable();
  failures();
  add(page, tip);
})();
