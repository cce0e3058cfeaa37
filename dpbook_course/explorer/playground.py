"""The live playground: choose a set-up, train it in the kernel, compare.   Chapters: 03_unrolling, 04_coupling."""

import asyncio
import html
import sys

import ipywidgets as widgets
from IPython.display import HTML, display

from dpbook_utils import arguments

from . import runs
from .choices import COMPOSITIONS, OFFERED, Choices, objection, remarks
from .pictures import paragraph, report
from .runs import Run
from .slices import Slices

SLICE = 0.1  # of training between two looks at the buttons [s]
LABELS = {"pde": "PDE", "coupling": "Coupling", "num_steps": "Unroll length m", "gradient": "Gradient policy",
          "placement": "Loss placement", "noise": "Noise (std of u)", "budget": "Updates"}
TEXTS = {name: f"{name}: {composition.text}" for name, composition in COMPOSITIONS.items()}
# For pages without a kernel; JupyterLab hides it and runs the script: without it, an arrow key on a menu would move to
# another cell, and a digit would turn that cell into a heading.
STATIC = """<div class="playground-static"><p><strong>Live playground.</strong> It trains in a running kernel: open this
chapter in JupyterLab or Colab and run this cell. It offers a choice of {controls}, and starts with
<code>{start}</code>.</p></div>
<style>.jp-OutputArea .playground-static {{ display: none }}</style>
<script>
  document.currentScript.closest(".jp-OutputArea")?.addEventListener("keydown", (event) => {{
    if (event.target.matches("select, button")) event.stopPropagation();
  }});
</script>"""


class Playground:
    """Controls for one set-up, a button that trains it, and the result beside the one before.

    Args:
        choices: where the controls start: ``pde``, ``coupling``, ``num_steps``, ``gradient``, ``placement``, ``noise``,
            ``budget`` as in ``Choices``.

    Nothing is trained or simulated until the button is pressed. The training goes on between cells, in slices of a
    tenth of a second; while a cell runs it waits.

    Attributes:
        current, previous: the last two runs, or None.   task: the training under way, to ``await`` in a cell.

    Raises: ValueError for a start that is not offered.
    """

    def __init__(self, **choices):
        for name in choices:
            arguments.choice("Playground", "a choice", name, OFFERED)
        start = Choices(**choices)
        self.current: Run | None = None
        self.previous: Run | None = None
        self.task: asyncio.Task | None = None
        self._stopping = False
        self.controls = {name: _menu(name, getattr(start, name)) for name in OFFERED}
        self.train_button = widgets.Button(description="Train", button_style="primary",
                                           tooltip="Train the chosen set-up")
        self.stop_button = widgets.Button(description="Stop", disabled=True,
                                          tooltip="Stop the training and keep what has been learnt so far")
        self.progress, self.counter = widgets.IntProgress(description="Progress"), widgets.Label()
        self.status = widgets.HTML(paragraph("Not trained yet.", "status"))
        self.advice, self.result = widgets.HTML(), widgets.HTML()
        for control in self.controls.values():
            control.observe(lambda change: self._advise(), names="value")
        self.train_button.on_click(lambda button: self._start())
        self.stop_button.on_click(lambda button: self._stop())
        menus = widgets.Box(list(self.controls.values()), layout=widgets.Layout(flex_flow="row wrap"))
        buttons = widgets.HBox([self.train_button, self.stop_button, self.progress, self.counter])
        self.widget = widgets.VBox([menus, self.advice, buttons, self.status, self.result])
        self._advise()

    @property
    def choices(self) -> Choices:
        """What the controls say."""
        return Choices(**{name: control.value for name, control in self.controls.items()})

    async def train(self) -> None:
        """Train what is chosen and show the result; other messages of the kernel are handled meanwhile."""
        choices = self.choices
        if self.train_button.disabled:
            return
        self.train_button.disabled, self.stop_button.disabled, self._stopping = True, False, False
        self.stop_button.focus()  # a disabled button keeps no focus
        self.progress.max, self.progress.bar_style = choices.budget, ""
        self._count(0)
        self._say(f"Training {choices.code} ... The first training of a PDE simulates its data first.")
        try:
            run = await self._in_slices(choices)
            self.previous, self.current = self.current, run
            self.result.value = report(run, self.previous)
            self._count(run.updates)
            self.progress.bar_style = {"finished": "success", "stopped": "warning", "diverged": "danger"}[run.ending]
            self._say(runs.summary(run, self.previous))
        except Exception as error:  # shown to the reader: nobody else sees what a task raises
            self.progress.bar_style = "danger"
            self._say(f"The training failed: {type(error).__name__}: {error}")
        except asyncio.CancelledError:
            self._say("The training was interrupted; nothing of it is kept. The button Stop keeps it.")
            raise
        finally:
            self.stop_button.disabled = True
            self._advise()
            if self._stopping:
                self.train_button.focus()

    async def _in_slices(self, choices: Choices) -> Run:
        updates = 0

        def training(pause):
            def go_on(done: int) -> bool:
                nonlocal updates
                updates = done
                pause()
                return not self._stopping
            return runs.train(choices, go_on)

        slices = Slices(training)
        await asyncio.sleep(SLICE)  # the front end shows first that something begins
        while not slices.advance(SLICE):
            self._count(updates)
            await asyncio.sleep(SLICE / 10)
        return slices.result

    def _start(self) -> None:
        try:
            self.task = asyncio.get_running_loop().create_task(self.train())
        except RuntimeError:  # outside a notebook no loop runs
            asyncio.run(self.train())

    def _stop(self) -> None:
        self._stopping = True

    def _advise(self) -> None:
        """Say what the choices mean, and let only those train that go together."""
        choices = self.choices
        reason = objection(choices)
        running = not self.stop_button.disabled
        self.train_button.disabled = running or reason is not None
        code = f"<pre style='white-space:pre-wrap'>{html.escape(choices.code)}</pre>"
        lines = remarks(choices) if reason is None else [f"This cannot be trained. {reason}"]
        self.advice.value = code + "".join(paragraph(line, "status") for line in lines)

    def _count(self, updates: int) -> None:
        self.progress.value, self.counter.value = updates, f"{updates} of {self.progress.max} updates"

    def _say(self, text: str) -> None:
        self.status.value = paragraph(text, "status")

    def _ipython_display_(self) -> None:
        """A note for pages without a kernel, then the widgets: in one output the note would be dropped."""
        *controls, last = LABELS.values()
        controls = f"{', '.join(controls)} and {last}"
        if "google.colab" not in sys.modules:  # there its reader is where the note would send them
            display(HTML(STATIC.format(controls=controls, start=html.escape(self.choices.code))))
        display(self.widget)


def _menu(name: str, value) -> widgets.Dropdown:
    """A native menu: unlike a slider of ipywidgets it has a name for screen readers."""
    options = [(TEXTS.get(option, f"{option:g}" if isinstance(option, float) else str(option)), option)
               for option in OFFERED[name]]
    return widgets.Dropdown(options=options, value=value, description=LABELS[name],
                            style={"description_width": "9em"}, layout=widgets.Layout(width="34em"))
