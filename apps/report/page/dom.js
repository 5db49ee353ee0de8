"use strict";

// Elements with text. What a model says only ever becomes text, never markup.
function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

function drawing(name, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

function facts(pairs) {
  return element("dl", {}, ...pairs.flatMap(([key, value]) => [element("dt", {}, key), element("dd", {}, value)]));
}

function shortNumber(value) {
  if (value === null || value === undefined) return "-";
  return Math.abs(value) >= 1e6 ? value.toPrecision(4) : String(Number(value.toPrecision(6)));
}

// 1,234,567 bytes as 1.18 MiB; other units as they are.
function withUnit(value, unit) {
  if (unit !== "bytes" || value === null) return shortNumber(value) + (unit ? " " + unit : "");
  const names = ["bytes", "KiB", "MiB", "GiB", "TiB"];
  let step = 0;
  while (value >= 1024 && step + 1 < names.length) { value /= 1024; ++step; }
  return (step ? value.toPrecision(3) : shortNumber(value)) + " " + names[step];
}

// The same colour for the same word in every report.
function hueOf(word) {
  let hash = 2166136261;
  for (let i = 0; i < word.length; ++i) hash = Math.imul(hash ^ word.charCodeAt(i), 16777619);
  return (hash >>> 0) % 360;
}

function saveButton(picture, name) {
  const save = () => {
    const copy = picture.cloneNode(true);
    copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
    copy.setAttribute("font-family", "sans-serif");
    copy.setAttribute("font-size", "11");
    const url = URL.createObjectURL(new Blob([new XMLSerializer().serializeToString(copy)], {type: "image/svg+xml"}));
    element("a", {href: url, download: name + ".svg"}).click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  };
  return element("button", {onclick: save}, "save as SVG");
}
