"""Reports in html, opened in Chromium without a network; skipped where there is none (ONNXTOOL_CHROMIUM names one).

The graph of the large model has 6,000 nodes. What it takes to write is printed, not judged.
"""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import time
import unittest

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

ROOT = pathlib.Path(os.environ["ONNXTOOL_SOURCE_DIR"])
CHROMIUM = os.environ.get("ONNXTOOL_CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None
)
HOSTILE = "</script><script>document.body.dataset.injected=1</script>"


def onnxtool(*arguments):
    result = subprocess.run([os.environ["ONNXTOOL_BINARY"], *map(str, arguments), "--no-config", "-q"], capture_output=True, text=True)
    if result.returncode:
        raise AssertionError(f"exit {result.returncode}: {result.stderr}")


def browse(page, fragment="", **options):
    """The document after its scripts have run."""
    with tempfile.TemporaryDirectory() as profile:
        command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}", "--window-size=1400,1000"]
        command += [f"--{key.replace('_', '-')}={value}" for key, value in options.items()]
        command += ["--virtual-time-budget=20000", "--dump-dom", page.as_uri() + fragment]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def body_data(document):
    """data-* of the body, by name."""
    return dict(re.findall(r'data-([a-z]+)="([^"]*)"', re.search(r"<body[^>]*>", document).group(0)))


def large_model(nodes, named):
    """A chain of blocks with skips; `named` as exporters do, else without any names."""
    rng = np.random.default_rng(0)
    body, weights, value = [], [], "x"
    for i in range(nodes // 4):
        weights.append(numpy_helper.from_array(rng.normal(size=64).astype(np.float32), f"layers.{i // 20}.block{i}.scale"))
        for j, (op, inputs) in enumerate((("Mul", [value, weights[-1].name]), ("Relu", [f"{i}_0"]), ("Neg", [f"{i}_1"]), ("Add", [f"{i}_2", value]))):
            name = f"/layers.{i // 20}/block{i}/{op}" if named else ""
            body.append(helper.make_node(op, inputs, [f"{i}_{j}"], name))
        value = f"{i}_3"
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 64]) for n in ("x", value)]
    graph = helper.make_graph(body, "large", ends[:1], ends[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@unittest.skipUnless(CHROMIUM, "no Chromium here")
class Pages(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.directory.cleanup)

    def report(self, model, *flags):
        page = pathlib.Path(self.directory.name) / f"{self._testMethodName}.html"
        path = page.with_suffix(".onnx")
        if isinstance(model, pathlib.Path):
            path = model
        else:
            save(model, path)
        onnxtool("inspect", path, *flags, "--report", f"html={page}")
        return page

    def drawn(self, document, figures):
        data = body_data(document)
        self.assertNotIn("fault", data)
        self.assertEqual(data["figures"], str(figures))
        return data

    def test_small_model(self):
        page = self.report(ROOT / "testdata" / "digits" / "model.onnx", "--dim", "batch=1")
        document = browse(page)
        data = self.drawn(document, 3)
        self.assertGreater(int(data["boxes"]), 50)
        self.assertGreaterEqual(int(data["edges"]), int(data["boxes"]) - 1)
        self.assertGreater(document.count("<rect"), 20)  # of the treemap
        self.assertRegex(document, r'<svg[^>]*class="curve"')

    def test_address_selects_a_node_and_a_tensor(self):
        model = large_model(40, True)
        page = self.report(model)
        self.assertIn('data-node="/layers.0/block3/Mul"', browse(page, "#node=/layers.0/block3/Mul"))
        document = browse(page, "#node=layers.0.block3.scale")
        self.assertIn('data-tensor="layers.0.block3.scale"', document)
        self.assertRegex(document, r'<svg[^>]*class="histogram"')

    def test_six_thousand_nodes(self):
        for named in (True, False):
            with self.subTest(named=named):
                start = time.monotonic()
                page = self.report(large_model(6000, named))
                print(f"\n6,000 nodes, named={named}: {time.monotonic() - start:.2f} s with Python's own, {page.stat().st_size} bytes")
                self.assertLessEqual(int(self.drawn(browse(page), 3)["boxes"]), 400)
                # What is looked for opens the groups around it.
                wanted = "/layers.60/block1200/Neg" if named else "1200_2"
                self.assertIn(f'data-node="{wanted}"', browse(page, f"#node={wanted}"))

    def test_before_and_after(self):
        before, after = (pathlib.Path(self.directory.name) / f"{name}.onnx" for name in ("before", "after"))
        save(large_model(40, True), before)
        shorter = large_model(24, True)
        shorter.graph.node[-1].name = "/only/after/Add"
        save(shorter, after)
        page = before.with_suffix(".html")
        onnxtool("inspect", before, after, "--report", f"html={page}")
        document = browse(page)
        self.drawn(document, 6)
        self.assertEqual(len(re.findall(r'<svg[^>]*class="curve"', document)), 2)
        self.assertIn("Before and after", document)
        # Nodes of either are found.
        for node in ("/layers.0/block8/Mul", "/only/after/Add"):
            self.assertIn(f'data-node="{node}"', browse(page, f"#node={node}"))

    def test_names_stay_text(self):
        model = large_model(8, True)
        model.graph.node[0].name = HOSTILE
        model.graph.name = HOSTILE
        model.producer_name = HOSTILE
        document = browse(self.report(model))
        self.assertNotIn("injected", self.drawn(document, 3))

    def test_nothing_is_drawn_without_figures(self):
        page = pathlib.Path(self.directory.name) / "check.html"
        onnxtool("check", ROOT / "testdata" / "digits" / "model.onnx", "--report", f"html={page}")
        self.drawn(browse(page), 0)

    def test_layer_errors(self):
        page = pathlib.Path(self.directory.name) / "diff.html"
        path = page.with_suffix(".onnx")
        model = large_model(40, True)
        save(model, path)
        onnxtool("diff", path, path, "--random", 1, "--per-layer", "both", "--report", f"html={page}")
        self.assertRegex(browse(page), r'<svg[^>]*class="curve"')


if __name__ == "__main__":
    unittest.main()
