"""The page in a real browser, against the real server."""

from __future__ import annotations

import csv
import io
import json
import re
import threading
import wave
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromium import chromium
from cut_line import CutLine
from known import known
from live_kit import PATIENCE_S, RATE, SHORT_ANSWER, Clip, LiveServer, ObedientThinker, tone, until, wav
from livetalk.base.errors import LiveTalkError
from livetalk.render.pipeline import Models
from livetalk.thinkers.base import Delta, HeardDelta, Manner, Question, SpeechDelta, TextDelta, ThinkerError
from PIL import Image

pytestmark = pytest.mark.browser

#: Browsers on people's desks let a page play sound only once they have touched it.
AUTOPLAY = "--autoplay-policy=document-user-activation-required"
SCENARIOS = Path(__file__).parents[3] / "scenarios"
WAIT_MS = 60_000
HERTZ = 440.0
HOSTILE = """<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>&amp; {{7*7}} ${7*7} \u202e"""
WRITTEN_DOWN = "Do you <b>hum</b> & sing?"
TOKEN = "correct horse battery staple"
NO_MICROPHONE = (
    "if (navigator.mediaDevices)"
    " navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('', '{}'));"
)
#: A microphone before which somebody hums whenever `voice.gain.value` is not 0.
HUMMER = f"""if (navigator.mediaDevices) navigator.mediaDevices.getUserMedia = async () => {{
    const context = new AudioContext(), out = new MediaStreamAudioDestinationNode(context);
    const hum = new OscillatorNode(context, {{frequency: {HERTZ}}});
    window.voice = new GainNode(context, {{gain: 0}});
    hum.connect(voice).connect(out);
    hum.start();
    return out.stream;
}};"""


class Host(ObedientThinker):
    """Also knows the orders `hostile`, which it follows with markup in its words, and `grumble`, with markup in an
    error. Of what is spoken it claims to have understood `WRITTEN_DOWN`."""

    async def _answer(self, order: str, rest: str, question: Question) -> AsyncIterator[Delta]:
        if order == "grumble":
            raise ThinkerError("failed", HOSTILE)
        if order == "hostile":
            yield TextDelta(HOSTILE)
            yield SpeechDelta(tone(1.0), RATE)
            return
        if question.text is None:
            yield HeardDelta(WRITTEN_DOWN)
        async for piece in super()._answer(order, rest, question):
            yield piece


class Visit:
    """A page that somebody looks at, and what it did beside what is seen."""

    def __init__(self, page: Any, url: str) -> None:
        self.page = page
        self.url = url
        self.complaints: list[str] = []
        self.foreign: list[str] = []
        self.opened: list[Any] = []  # responses to requests for a conversation
        page.set_default_timeout(WAIT_MS)
        page.on("console", lambda said: self._complain(said.type, said.text))
        page.on("pageerror", lambda error: self._complain("error", str(error)))
        page.on("request", lambda request: self._see(request.url))
        page.on("response", self._note)

    def _complain(self, kind: str, text: str) -> None:
        # The browser itself writes a line for every refused request; the page shows these to the user.
        if kind in ("error", "warning") and not text.startswith("Failed to load resource"):
            self.complaints.append(text)

    def _see(self, url: str) -> None:
        if not url.startswith((f"{self.url}/", "blob:", "data:", "about:")):
            self.foreign.append(url)

    def _note(self, response: Any) -> None:
        if response.url.endswith("/v1/conversations") and response.status == 201:
            self.opened.append(response)

    @property
    def conversation(self) -> str:
        name: str = self.opened[-1].json()["id"]
        return name

    def enter(self) -> Visit:
        self.page.goto(self.url)
        return self.until("ready")

    def leave(self) -> None:
        """Go, as by a link: a page that the browser takes away has half a second for its farewell, busy or not."""
        self.page.evaluate("() => { location.href = 'about:blank'; }")
        self.page.wait_for_url("about:blank")

    def until(self, *states: str) -> Visit:
        self.page.wait_for_selector(", ".join(f"body[data-state={state}]" for state in states))
        return self

    def type(self, text: str) -> Visit:
        self.page.fill("#text", text)
        self.page.press("#text", "Enter")
        return self

    def without_portrait(self) -> Visit:
        """Let the server show its own: one that is sent a picture starts a process to decode it."""
        self.page.get_by_role("radio", name="Server's own").check()
        return self

    def ask(self, text: str = "Is that right?") -> Visit:
        """Say something and hear the answer to its end."""
        before = self.page.locator(".turn").count()
        self.type(text)
        self.page.wait_for_selector(f".turn:nth-of-type({before + 1})")
        return self.until("thinking", "speaking", "late").until("ready")

    def playing(self, seconds: float = 0.2) -> Visit:
        self.until("speaking", "late")
        self.page.wait_for_function("at => video.currentTime >= at && still.hidden", arg=seconds)
        return self

    def see(self, selector: str, text: str | re.Pattern[str]) -> Visit:
        self.page.locator(selector).filter(has_text=text).first.wait_for(state="visible")
        return self

    def click(self, name: str) -> Visit:
        self.page.get_by_role("button", name=name, exact=True).click()
        return self

    def hold_to_talk(self, pieces: int = 50) -> None:
        """Press the microphone and let go when so many pieces of sound have been heard."""
        self.page.hover("#mic")
        self.page.mouse.down()
        self.until("listening").hearing(pieces)
        self.page.mouse.up()

    def hearing(self, pieces: int) -> None:
        """Wait for so many pieces of sound, of about 21 ms each, from the microphone."""
        self.page.evaluate(
            """() => {
                window.pieces = 0;
                const count = changes => { pieces += changes.length; };
                new MutationObserver(count).observe(mic, {attributeFilter: ["style"]});
            }"""
        )
        self.page.wait_for_function("wanted => pieces >= wanted", arg=pieces)


@pytest.fixture(scope="module")
def server(models: Models) -> Iterator[LiveServer]:
    server = LiveServer(models, Host(), live={"capacity": 2})
    try:
        yield server.wait_until_ready()
    finally:
        server.stop()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Its microphone hears a humming without an end."""
    hum = tmp_path_factory.mktemp("sounds") / "hum.wav"
    hum.write_bytes(wav(tone(4.0, HERTZ, 48_000), 48_000))
    with chromium(AUTOPLAY, f"--use-file-for-fake-audio-capture={hum}") as browser:
        yield browser


@pytest.fixture
def visit(browser: Any, server: LiveServer) -> Iterator[Callable[..., Visit]]:
    """Open a page in a browser that was never there before; to its end it complains of nothing and asks nobody else."""
    contexts: list[Any] = []
    visits: list[Visit] = []

    def begin(url: str, *, script: str = "", **options: Any) -> Visit:
        context = browser.new_context(**options)
        contexts.append(context)
        if script:
            context.add_init_script(script)
        visits.append(Visit(context.new_page(), url))
        return visits[-1]

    yield begin
    for visit in visits:
        visit.leave()
    assert until(lambda: sessions(server) == 0), "whoever leaves gives their place back"
    for context in contexts:
        context.close()
    assert [complaint for visit in visits for complaint in visit.complaints] == []
    assert [url for visit in visits for url in visit.foreign] == []


@pytest.fixture
def guest(visit: Callable[..., Visit], server: LiveServer) -> Visit:
    """A visit to the default server."""
    return visit(server.url).enter()


def sessions(server: LiveServer) -> int:
    with server.client() as client:
        count: int = client.get("/health").json()["sessions"]
        return count


def turn(server: LiveServer, guest: Visit, index: int) -> dict[str, Any]:
    with server.client() as client:
        record: dict[str, Any] = client.get(f"/v1/conversations/{guest.conversation}/turns/{index}").json()
        return record


class TestTyping:
    def test_an_answer_is_seen_and_heard_while_it_is_made(self, guest: Visit, server: LiveServer) -> None:
        guest.type("long").playing(0.5)
        first, second = (guest.page.evaluate("video.currentTime") for _ in range(2))
        assert second >= first
        played = guest.page.evaluate(
            "({width: video.videoWidth, frames: video.getVideoPlaybackQuality().totalVideoFrames,"
            " sound: video.webkitAudioDecodedByteCount, muted: video.muted})"
        )
        assert played["width"] == 64
        assert played["frames"] > 5
        assert played["sound"] > 0
        assert not played["muted"]
        assert turn(server, guest, 1)["outcome"] == "running", "it has no end yet, and is already played"

    def test_the_transcript_and_the_timings_tell_of_it(self, guest: Visit, server: LiveServer) -> None:
        guest.ask("Is that right?")
        assert guest.page.inner_text(".you .text") == "Is that right?"
        assert guest.page.inner_text(".heard") == SHORT_ANSWER
        assert re.fullmatch(r"\d+\.\d+ s", guest.page.inner_text("#figure-first"))
        assert re.fullmatch(r"\d+\.\d", guest.page.inner_text("#figure-rate"))
        assert re.fullmatch(r"\d+\.\d\d", guest.page.inner_text("#figure-factor"))
        record = turn(server, guest, 1)
        guest.see("#figure-underruns", re.compile(rf"^{record['underruns']}\b"))
        factor = guest.page.locator("#figures div", has_text="Real-time factor")
        assert factor.get_attribute("class") == ("good" if record["real_time_factor"] <= 1 else "poor")
        assert guest.page.locator("#figures .goal").all_inner_texts() == [
            "aim: 0.6 s",
            "needs 16",
            "needs 1 or less",
            "0 is smooth",
        ]
        parts = guest.page.evaluate(
            "[...document.querySelectorAll('#figure-key li')].map(part => part.className.split(' ')[1])"
        )
        assert parts == ["thinker", "window", "render", "encode", "deliver"]
        shares = guest.page.evaluate(
            "[...document.querySelectorAll('#figure-bar i')].map(part => +part.style.flexGrow)"
        )
        assert sum(shares) == pytest.approx(1, abs=1e-3)
        guest.page.click(".timings summary")
        rows = dict(
            zip(*(guest.page.locator(f".timings {tag}").all_inner_texts() for tag in ("dt", "dd")), strict=True)
        )
        assert rows["Frames"] == f"{record['frames']} ({record['video_s']:.2f} s)"
        assert float(rows["Answer complete"].removesuffix(" s")) == pytest.approx(
            record["timings"]["finished_s"], abs=0.06
        )

    def test_the_conversation_goes_on_and_the_last_frame_stays_until_the_next(
        self, guest: Visit, server: LiveServer
    ) -> None:
        guest.ask("First.")
        last = guest.page.evaluate(
            """() => {
                const brush = Object.assign(document.createElement("canvas"), {width: 64, height: 64}).getContext("2d");
                brush.drawImage(video, 0, 0);
                return [...brush.getImageData(0, 0, 64, 64).data];
            }"""
        )
        guest.type("Second.").until("thinking")
        kept = guest.page.evaluate(
            "({seen: !still.hidden, data: [...still.getContext('2d').getImageData(0, 0, 64, 64).data]})"
        )
        assert kept["seen"]
        assert kept["data"] == last
        guest.playing().until("ready")
        question = server.obedient.questions[-1]
        assert [message.text for message in question.history] == ["First.", SHORT_ANSWER]
        guest.see("#median", "of 2 answers")
        assert guest.page.locator(".turn").count() == 2
        assert guest.page.locator(".break").count() == 0

    def test_return_sends_and_shift_return_does_not(self, guest: Visit) -> None:
        guest.page.fill("#text", "one")
        guest.page.press("#text", "Shift+Enter")
        guest.page.type("#text", "two")
        assert guest.page.input_value("#text") == "one\ntwo"
        guest.page.press("#text", "Enter")
        guest.see(".you .text", "one")
        assert guest.page.input_value("#text") == ""
        guest.until("ready")

    def test_a_browser_without_media_source_plays_the_whole_clip(
        self, visit: Callable[..., Visit], server: LiveServer
    ) -> None:
        guest = visit(server.url, script="delete window.MediaSource; delete window.ManagedMediaSource;").enter()
        guest.type("Is that right?").playing(0.3)
        guest.until("ready")
        assert guest.page.inner_text(".heard") == SHORT_ANSWER

    def test_a_browser_that_wants_a_tap_gets_one(self, visit: Callable[..., Visit], server: LiveServer) -> None:
        script = """const play = HTMLMediaElement.prototype.play; let asked = 0;
            HTMLMediaElement.prototype.play = function () {
                return asked++ ? play.call(this) : Promise.reject(new DOMException("", "NotAllowedError"));
            };"""
        guest = visit(server.url, script=script).enter().type("Is that right?")
        guest.click("Tap to play the answer").playing().until("ready")
        assert not guest.page.is_visible("#play")


class TestInterrupting:
    def test_typing_cuts_the_answer_and_memory_keeps_what_was_heard(self, guest: Visit, server: LiveServer) -> None:
        guest.type("long").playing(0.5).type("Stop, please.")
        guest.see(".turn:nth-of-type(1) .ending", re.compile(r"Interrupted at \d"))
        guest.playing().until("ready")
        record = turn(server, guest, 1)
        assert record["outcome"] == "interrupted"
        said, heard = guest.page.locator(".turn:nth-of-type(1) .heard"), record["heard_text"]
        assert said.inner_text().strip() == heard.strip()
        cut = guest.page.locator(".turn:nth-of-type(1) .unheard").text_content()
        assert heard + cut == record["text"].rstrip()
        question = server.obedient.questions[-1]
        assert [message.text for message in question.history] == ["long", heard]
        assert turn(server, guest, 2)["outcome"] == "completed"

    @pytest.mark.parametrize("way", ["button", "escape"])
    def test_stop_holds_the_picture(self, guest: Visit, server: LiveServer, way: str) -> None:
        guest.type("long").playing(0.3)
        if way == "button":
            guest.page.click("#stop")
        else:
            guest.page.keyboard.press("Escape")
        guest.until("interrupted")
        assert guest.page.evaluate("video.paused && video.readyState >= 2")
        assert until(lambda: turn(server, guest, 1)["outcome"] == "interrupted")
        guest.until("ready").ask("And now?")

    def test_an_answer_that_has_not_begun_can_be_interrupted(self, guest: Visit, server: LiveServer) -> None:
        guest.type("ponder").until("thinking").type("Never mind.")
        guest.see(".turn:nth-of-type(1) .ending", "Interrupted before it began")
        guest.playing().until("ready")
        assert guest.page.locator(".turn:nth-of-type(2) .heard").inner_text() == SHORT_ANSWER
        assert not guest.page.is_visible("text=Try again")


class TestSpeaking:
    def test_a_held_button_sends_what_was_said_meanwhile(self, guest: Visit, server: LiveServer) -> None:
        guest.hold_to_talk()
        guest.until("ready").see(".spoken", re.compile(r"\d\.\d s"))
        guest.see(".you .text", re.compile(rf"\d\.\d s {re.escape(WRITTEN_DOWN)}"))
        question = server.obedient.questions[-1]
        assert question.text is None
        said = known(question.audio)
        assert 0.8 < len(said) / 16_000 < 20
        middle = said[len(said) // 4 :]
        spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
        assert np.argmax(spectrum) * 16_000 / len(middle) == pytest.approx(HERTZ, abs=6)

    def test_speaking_interrupts_at_once(self, guest: Visit, server: LiveServer) -> None:
        guest.type("long").playing(0.3)
        guest.page.hover("#mic")
        guest.page.mouse.down()
        guest.until("listening")
        assert guest.page.evaluate("video.paused")
        assert until(lambda: turn(server, guest, 1)["outcome"] == "interrupted"), "before the user has said all"
        guest.page.keyboard.press("Escape")
        guest.page.mouse.up()
        guest.until("ready", "interrupted")
        assert guest.page.locator(".turn").count() == 1, "what was discarded is not sent"

    def test_the_space_bar_talks(self, guest: Visit, server: LiveServer) -> None:
        guest.page.locator("body").press("Tab")
        guest.page.evaluate("document.activeElement.blur()")
        guest.page.keyboard.down("Space")
        guest.until("listening")
        guest.page.wait_for_function("() => mic.style.getPropertyValue('--level') > 0")
        guest.page.keyboard.up("Space")
        # A short press leaves the microphone open until the next.
        if guest.page.inner_text("#hint").startswith("Listening"):
            guest.page.keyboard.press("Space")
        guest.until("ready")
        assert guest.page.evaluate("document.activeElement === document.body")

    def test_a_tap_leaves_the_microphone_open_until_the_next(self, guest: Visit, server: LiveServer) -> None:
        guest.hold_to_talk()  # the microphone is at hand from here on
        guest.until("ready")
        before = len(server.obedient.questions)
        tap = """() => {
            mic.setPointerCapture = () => {};
            for (const type of ["pointerdown", "pointerup"])
                mic.dispatchEvent(new PointerEvent(type, {pointerId: 1, button: 0, bubbles: true}));
        }"""
        guest.page.evaluate(tap)
        guest.see("#hint", "Press again to send")
        assert len(server.obedient.questions) == before
        guest.hearing(30)
        guest.page.evaluate(tap)
        guest.until("thinking", "speaking").until("ready")
        assert len(server.obedient.questions) == before + 1

    def test_hands_free_hears_when_somebody_speaks(self, visit: Callable[..., Visit], server: LiveServer) -> None:
        guest = visit(server.url, script=HUMMER).enter()
        voice = "level => { voice.gain.value = level; }"
        guest.page.get_by_role("switch", name="Hands-free").click()
        guest.until("free").page.wait_for_function("() => window.voice?.context.currentTime > 0.7")
        before = len(server.obedient.questions)
        guest.page.evaluate(voice, 0.5)
        guest.until("listening")
        guest.page.evaluate("() => { window.from = voice.context.currentTime; }")
        guest.page.wait_for_function("() => voice.context.currentTime > from + 0.5")
        assert len(server.obedient.questions) == before, "nothing is sent before the end"
        guest.page.evaluate(voice, 0)
        guest.until("thinking", "speaking").until("free")
        audio = known(server.obedient.questions[-1].audio)
        assert np.abs(audio[:1_600]).max() < 0.01, "a little of the silence before the words"
        assert np.abs(audio).max() > 0.3
        assert np.abs(audio[-1_600:]).max() < 0.01, "and after them"
        guest.type("long").playing(0.3)
        guest.page.evaluate(voice, 0.5)
        guest.until("listening")
        assert guest.page.evaluate("video.paused"), "speaking interrupts"
        guest.page.get_by_role("switch", name="Hands-free").click()
        guest.until("ready", "interrupted")
        assert guest.page.locator(".turn").count() == 2

    @pytest.mark.parametrize(
        ("script", "words"),
        [
            (
                NO_MICROPHONE.format("NotAllowedError"),
                "not allowed to use the microphone",
            ),
            (
                NO_MICROPHONE.format("NotFoundError"),
                "No microphone was found",
            ),
            ("delete Navigator.prototype.mediaDevices;", "can't record sound"),
        ],
    )
    def test_without_a_microphone_the_page_says_why(
        self, visit: Callable[..., Visit], server: LiveServer, script: str, words: str
    ) -> None:
        guest = visit(server.url, script=script).enter()
        guest.page.hover("#mic")
        guest.page.mouse.down()
        guest.see(".notice", words)
        guest.page.mouse.up()
        guest.ask("Then I type.")
        assert guest.page.locator(".notice").count() == 0


class TestPortraits:
    def test_a_picture_of_the_users_is_shown_and_sent(self, guest: Visit, server: LiveServer) -> None:
        picture = Image.new("RGB", (900, 400), (200, 30, 40))
        data = io.BytesIO()
        exif = Image.Exif()
        exif[0x010E] = "where it was taken"
        picture.save(data, "JPEG", exif=exif)
        file = {"name": "../me.jpg", "mimeType": "image/jpeg", "buffer": data.getvalue()}
        guest.page.set_input_files("#portraits input[type=file]", file)
        guest.page.wait_for_function("() => document.querySelector('input[value=upload]').checked")
        guest.page.wait_for_function(
            "() => Math.abs(still.getContext('2d').getImageData(9, 9, 1, 1).data[0] - 200) < 6 && !still.hidden"
        )
        guest.ask()
        assert len(guest.opened) == 1
        assert int(guest.opened[0].request.all_headers()["content-length"]) > 2_000, "a picture was sent"

    def test_a_file_that_is_no_picture_is_refused_here(self, guest: Visit) -> None:
        file = {"name": "me.png", "mimeType": "image/png", "buffer": b"no picture"}
        guest.page.set_input_files("#portraits input[type=file]", file)
        guest.see(".notice", "not a picture")
        guest.click("Close")
        assert guest.page.evaluate("document.querySelector('input[name=portrait]:checked').value").endswith("maya.jpg")

    def test_the_servers_own_needs_no_picture(self, guest: Visit) -> None:
        guest.page.get_by_role("radio", name="Server's own").check()
        guest.page.wait_for_selector("#nobody", state="visible")
        guest.ask()
        assert int(guest.opened[0].request.all_headers()["content-length"]) < 1_000

    def test_what_was_chosen_holds_for_the_next_visit(self, guest: Visit, server: LiveServer) -> None:
        guest.page.get_by_role("radio", name="Amara").check()
        guest.page.wait_for_function("() => localStorage['livetalk-settings']?.includes('amara')")
        guest.enter()
        assert guest.page.evaluate("document.querySelector('input[name=portrait]:checked').value").endswith("amara.jpg")

    def test_all_ten_personas_are_there_with_names_and_voices(self, guest: Visit) -> None:
        shown = guest.page.evaluate("import('/page/personas.js').then(({PERSONAS}) => PERSONAS)")
        lines = (SCENARIOS / "personas.jsonl").read_text("utf-8").splitlines()
        for persona in map(json.loads, lines):
            (tile,) = [entry for entry in shown if entry["id"] == persona["id"]]
            voice = persona["voice"]
            assert tile["name"] == persona["name"]
            assert (tile["voice"], tile["pitch"], tile["rate"]) == (voice["variant"], voice["pitch"], voice["rate"])
            assert voice["description"].endswith(tile["sound"])
            assert tile["gender"] == (persona["gender"] if persona["gender"] != "nonbinary" else None)
            guest.see(".tiles .caption", persona["name"])
            response = guest.page.request.get(f"{guest.url}/page/portrait-{persona['id']}.jpg")
            picture = Image.open(io.BytesIO(response.body()))
            drawn = Image.open(SCENARIOS / persona["portrait"]).convert("RGB")
            assert np.abs(np.asarray(picture, int) - np.asarray(drawn, int)).mean() < 3
        assert len(shown) == len(lines)

    def test_a_portrait_speaks_with_its_own_voice_unless_another_is_chosen(
        self, guest: Visit, server: LiveServer
    ) -> None:
        guest.page.get_by_role("radio", name="Walter").check()
        guest.see("#who", "Walter: low, unhurried and kindly, British accent")
        with guest.page.expect_response("**/sample?pitch=30&rate=146") as heard:
            guest.click("Hear the voice of Walter")
        assert heard.value.status == 200, "the voice is heard as it speaks"
        guest.ask()
        question = server.obedient.questions[-1]
        assert (question.voice, question.manner) == ("en-gb+m7", Manner(pitch=30, rate=146))
        guest.click("Settings").click("The server's own")
        guest.page.click("#settings-save")
        guest.page.click("#new")
        guest.see("#who", "Speaks with the server's own voice").ask()
        question = server.obedient.questions[-1]
        assert (question.voice, question.manner) == (None, Manner())

    @pytest.mark.parametrize(("width", "height"), [(1400, 900), (1280, 720), (400, 860)])
    def test_no_portrait_is_cut_off_and_the_users_own_is_seen(
        self, visit: Callable[..., Visit], server: LiveServer, width: int, height: int
    ) -> None:
        guest = visit(server.url, viewport={"width": width, "height": height}).enter()
        picture = io.BytesIO()
        Image.new("RGB", (64, 64), (90, 140, 200)).save(picture, "PNG")
        file = {"name": "me.png", "mimeType": "image/png", "buffer": picture.getvalue()}
        guest.page.set_input_files("#portraits input[type=file]", file)
        guest.page.wait_for_function("() => document.querySelector('input[value=upload]').checked")
        seen = """label => {
            const box = label.getBoundingClientRect(), x = box.x + box.width / 2;
            return [box.top + 3, box.bottom - 3].every(y => label.contains(document.elementFromPoint(x, y)));
        }"""
        assert guest.page.eval_on_selector(".own", seen)
        if width > 820:  # narrow windows have a strip that is pushed
            assert guest.page.evaluate(f"[...document.querySelectorAll('.tiles label')].every({seen})")


class TestVoices:
    def test_they_are_listed_heard_and_chosen(self, guest: Visit, server: LiveServer) -> None:
        guest.click("Settings")
        guest.see("#voices", "American, woman 1")
        assert guest.page.locator("#voices .name[aria-pressed=true]").inner_text().startswith("The portrait's")
        with guest.page.expect_response("**/sample") as heard:
            guest.click("Hear en-gb+f2")
        assert heard.value.status == 200
        guest.page.wait_for_selector(".hear[aria-label='Hear en-gb+f2'][aria-pressed=true]")
        guest.page.wait_for_selector(".hear[aria-label='Hear en-gb+f2'][aria-pressed=false]")  # it ends by itself
        guest.page.locator("#voices .name", has_text="en-gb+f2").click()
        assert guest.page.input_value("#voice") == "en-gb+f2"
        guest.page.click("#settings-save")
        guest.see("#who", "Speaks with en-gb+f2, as the settings say").ask()
        assert server.obedient.questions[-1].voice == "en-gb+f2"

    def test_a_server_whose_voices_are_unknown_shows_no_list(self, guest: Visit) -> None:
        suiting = """async voices => {
            const {PERSONAS, suitingVoice} = await import("/page/personas.js");
            return PERSONAS.filter(({id}) => ["maya", "walter", "robin"].includes(id))
                .map(persona => suitingVoice(persona, voices, ["pitch"]));
        }"""
        assert guest.page.evaluate(suiting, []) == [None, None, None]
        omni = [{"name": "Ethan", "gender": "male"}, {"name": "Chelsie", "gender": "female"}]
        assert guest.page.evaluate(suiting, omni) == [{"voice": "Chelsie"}, {"voice": "Ethan"}, None]


class TestKeeping:
    def test_the_clip_the_transcript_and_the_timings(self, guest: Visit, server: LiveServer, tmp_path: Path) -> None:
        def kept(selector: str) -> tuple[str, bytes]:
            with guest.page.expect_download() as download:
                guest.page.click(selector)
            return download.value.suggested_filename, Path(download.value.path()).read_bytes()

        assert guest.page.is_disabled("#save-open"), "there is nothing yet"
        guest.ask("Is that =1+1, or not?")
        guest.see("#figure-underruns", re.compile(r"\d"))
        guest.page.wait_for_selector(".save", state="visible")
        record = turn(server, guest, 1)
        name, content = kept(".save")
        assert re.fullmatch(r"livetalk-[\d-]+-answer-1\.mp4", name)
        assert Clip(content).frames == record["frames"]
        guest.click("Save")
        name, content = kept("#save [value=transcript]")
        assert re.fullmatch(r"livetalk-[\d-]+-transcript\.txt", name)
        assert f"You: Is that =1+1, or not?\nAvatar: {SHORT_ANSWER}\n" in content.decode()
        guest.click("Save")
        name, content = kept("#save [value=csv]")
        assert name.endswith("timings.csv")
        (row,) = csv.DictReader(io.StringIO(content.decode()))
        assert (row["turn"], row["outcome"], row["frames"]) == ("1", "completed", str(record["frames"]))
        assert float(row["first_fragment_s"]) == pytest.approx(record["timings"]["first_fragment_s"], abs=1e-4)
        assert row["interrupted_at_s"] == ""
        guest.click("Save")
        name, content = kept("#save [value=json]")
        assert name.endswith("timings.json")
        given = json.loads(content)
        assert given["server"]["random_weights"] is True
        (entry,) = given["turns"]
        assert entry["interrupted_at_s"] is None
        assert entry["first_frame_here_s"] == float(row["first_frame_here_s"])

    def test_what_was_not_heard_is_kept_as_such_and_the_clip_is_whole(self, guest: Visit, server: LiveServer) -> None:
        guest.type("long").playing(0.5)
        guest.page.click("#stop")
        guest.see(".ending", re.compile(r"Interrupted at \d"))
        guest.page.wait_for_selector(".save", state="visible")
        with guest.page.expect_download() as download:
            guest.click("Save clip")
        assert Clip(Path(download.value.path()).read_bytes()).frames > 0
        assert until(lambda: turn(server, guest, 1)["outcome"] == "interrupted")
        text = guest.page.evaluate(
            """async record => {
                const {transcriptText} = await import("/page/save.js");
                const turn = {message: {text: "long"}, record, cutAtS: 0.5, firstFrameS: 1, running: false, sentAt: 0};
                return transcriptText([turn], null, new Date());
            }""",
            turn(server, guest, 1),
        )
        assert "(not heard: " in text
        assert "(Interrupted at 0.50 s; first frame after 1.00 s)" in text


class TestSettings:
    def test_they_reach_the_thinker_and_hold_from_the_next_conversation(self, guest: Visit, server: LiveServer) -> None:
        def settings(persona: str) -> None:
            guest.click("Settings")
            guest.page.fill("#persona", persona)
            guest.page.fill("#voice", "en-gb")
            guest.page.fill("#seed", "7")
            guest.page.click("#settings-save")

        settings("You are Ada.")
        guest.ask()
        assert (server.obedient.questions[-1].persona, server.obedient.questions[-1].voice) == ("You are Ada.", "en-gb")
        settings("You are Bob.")
        guest.see(".notice", "keeps what it began with").ask()
        assert server.obedient.questions[-1].persona == "You are Ada."
        guest.page.locator(".notice").get_by_role("button", name="New conversation").click()
        guest.page.wait_for_selector("#welcome", state="visible")
        guest.ask()
        assert server.obedient.questions[-1].persona == "You are Bob."
        assert server.obedient.questions[-1].history == ()
        assert until(lambda: sessions(server) == 1), "the former conversation was closed"

    def test_a_voice_that_there_is_not_is_told_in_the_servers_words(self, guest: Visit) -> None:
        guest.click("Settings")
        guest.page.fill("#voice", "klingon")
        guest.page.press("#voice", "Enter")
        guest.type("Hello?").see(".ending.bad", "klingon")
        guest.click("Settings")
        guest.page.fill("#voice", "")
        guest.page.press("#voice", "Enter")
        guest.click("Try again").until("thinking", "speaking").until("ready")
        assert guest.page.locator(".turn").count() == 1


class TestTrouble:
    def test_hostile_text_stays_text(self, guest: Visit) -> None:
        guest.ask(f"hostile {HOSTILE}")
        guest.type(f"grumble {HOSTILE}").see(".ending.bad", "onerror")
        said, answered = guest.page.locator(".you .text").first, guest.page.locator(".heard").first
        assert said.text_content() == f"hostile {HOSTILE}"
        assert answered.text_content() == HOSTILE
        assert guest.page.locator("#transcript img, #transcript script").count() == 0
        assert guest.page.evaluate("window.hacked") is None

    def test_a_thinker_that_fails_is_told_and_can_be_asked_again(self, guest: Visit, server: LiveServer) -> None:
        guest.type("fail unreachable").see(".ending.bad", "told to fail")
        guest.until("ready")
        assert guest.page.is_visible("text=Try again")
        guest.type("break broken").playing().see(".ending.bad", "told to break off")
        guest.until("ready").ask("And now?")
        assert turn(server, guest, guest.page.locator(".turn").count())["outcome"] == "completed"

    def test_a_full_server_is_waited_for(self, guest: Visit, server: LiveServer) -> None:
        with server.client() as client:
            taken = [server.open(client) for _ in range(2)]
            guest.type("Is there room?").until("queued")
            guest.see(".notice", "All places are taken").see(".countdown", re.compile(r"Trying again in \d+ s"))
            guest.page.locator(".notice").get_by_role("button", name="Stop waiting").click()
            guest.see(".ending", "Not sent").until("ready", "interrupted")
            guest.click("Try again").until("queued")
            for name in taken:
                client.delete(f"/v1/conversations/{name}")
            guest.click("Try now").playing().until("ready")
        assert guest.page.locator(".notice").count() == 0
        assert guest.page.locator(".turn").count() == 1

    def test_a_token_is_asked_for_and_kept_for_this_tab_only(
        self, visit: Callable[..., Visit], serve: Callable[..., LiveServer]
    ) -> None:
        server = serve(token=TOKEN)
        guest = visit(server.url).enter().without_portrait().type("May I?")
        dialog = guest.page.get_by_role("dialog")
        dialog.get_by_label("Token").fill("wrong")
        guest.page.keyboard.press("Enter")
        guest.see("#token-note", "not this server's token")
        dialog.get_by_label("Token").fill(TOKEN)
        guest.click("Continue").playing().until("ready")
        assert guest.page.evaluate("sessionStorage['livetalk-token']") == TOKEN
        assert TOKEN not in guest.page.evaluate("JSON.stringify(localStorage) + document.cookie + location.href")
        guest.enter().ask("Again?")
        stranger = visit(server.url).enter().without_portrait().type("And I?")
        stranger.page.get_by_role("dialog").wait_for()
        stranger.click("Cancel").see(".ending.bad", "asks for a token, and none was given")

    def test_an_answer_broken_off_by_the_network(
        self, visit: Callable[..., Visit], serve: Callable[..., LiveServer]
    ) -> None:
        server = serve()
        line = CutLine(server.port)
        guest = visit(line.url).enter().without_portrait().type("long").playing(0.5)
        line.cut()
        guest.see(".ending.bad", "connection was lost").until("offline")
        guest.see(".notice", "can't be reached")
        assert guest.page.is_disabled("#send")
        line.mend()
        guest.click("Try now").see(".notice", "goes on where it was").until("ready")
        guest.ask("Where were we?")
        assert server.obedient.questions[-1].history[0].text == "long"
        assert guest.page.locator(".break").count() == 0
        line.cut()

    def test_a_server_that_was_started_anew(
        self, visit: Callable[..., Visit], serve: Callable[..., LiveServer]
    ) -> None:
        line = CutLine(serve().port)
        guest = visit(line.url).enter().without_portrait().ask("Remember this.")
        line.cut()
        guest.type("Are you there?").until("offline").see(".ending.bad", "did not answer")
        anew = serve()
        line.port = anew.port
        line.mend()
        guest.click("Try now").see(".notice", "no longer has this conversation").until("ready")
        guest.click("Try again").until("thinking", "speaking").until("ready")
        guest.see(".break", "without memory")
        assert [question.history for question in anew.obedient.questions] == [()]
        line.cut()

    def test_a_conversation_that_is_over(self, guest: Visit, server: LiveServer) -> None:
        guest.ask("Remember this.")
        with server.client() as client:
            client.delete(f"/v1/conversations/{guest.conversation}")
        guest.type("Do you?").see(".ending.bad", "Try again to begin a new one, which remembers nothing")
        assert guest.page.get_by_role("alert").count() == 1, "it is read out"
        guest.click("Try again").until("thinking", "speaking").until("ready")
        assert guest.page.locator("#transcript > li").evaluate_all("all => all.map(one => one.className)") == [
            "turn",
            "break",
            "turn",
        ]

    def test_a_text_that_is_too_long_is_neither_cut_nor_sent(self, guest: Visit) -> None:
        guest.ask("First.")
        long = "very " * 900 + "long"
        guest.type(long).see("#hint", "Too long: 4504 of 4000 characters")
        assert guest.page.input_value("#text") == long
        guest.click("New conversation").type(long).see("#hint", "Too long: 4504 of 4000 characters")
        assert guest.page.input_value("#text") == long
        assert guest.page.locator(".turn").count() == 0
        guest.ask("Shorter, then.")

    def test_a_browser_that_stores_nothing_can_be_used(
        self, visit: Callable[..., Visit], serve: Callable[..., LiveServer]
    ) -> None:
        script = """for (const name of ["localStorage", "sessionStorage"])
            Object.defineProperty(window, name, {get() { throw new DOMException("", "SecurityError"); }});"""
        guest = visit(serve(token=TOKEN).url, script=script).enter()
        guest.page.get_by_role("radio", name="Amara").check()
        guest.type("May I?").page.get_by_role("dialog").get_by_label("Token").fill(TOKEN)
        guest.click("Continue").playing().until("ready").ask("Again?")

    def test_models_that_are_loaded_and_models_that_cannot_be(
        self, visit: Callable[..., Visit], serve: Callable[..., LiveServer], models: Models
    ) -> None:
        loaded = threading.Event()

        def slowly() -> Models:
            assert loaded.wait(60)
            return models

        server = serve(load=slowly, ready=False)
        guest = visit(server.url)
        guest.page.goto(server.url)
        guest.until("loading")
        assert guest.page.inner_text("#state") == "Loading the models"
        assert guest.page.is_disabled("#send")
        loaded.set()
        guest.until("ready")
        assert guest.page.is_enabled("#send")

        def never() -> Models:
            raise LiveTalkError("It was told not to load.")

        other = visit(serve(load=never, ready=False).url)
        other.page.goto(other.url)
        other.until("failed").see(".notice", "could not load its models")


class TestManners:
    def test_who_leaves_gives_the_place_back(self, guest: Visit, server: LiveServer) -> None:
        guest.type("long").playing()
        assert sessions(server) == 1
        guest.leave()
        assert until(lambda: sessions(server) == 0)
        assert server.obedient.cancelled.acquire(timeout=PATIENCE_S)

    def test_random_weights_are_spoken_of(self, guest: Visit) -> None:
        guest.see("#random", "Random weights")

    @pytest.mark.parametrize("width", [320, 390, 820, 1280])
    def test_nothing_is_wider_than_the_window(
        self, visit: Callable[..., Visit], server: LiveServer, width: int
    ) -> None:
        guest = visit(server.url, viewport={"width": width, "height": 720}).enter()
        fits = "document.documentElement.scrollWidth <= innerWidth && document.body.scrollHeight <= innerHeight"
        assert guest.page.evaluate(fits)
        guest.ask("Donaudampfschifffahrtsgesellschaftskapitänsmützenhersteller" * 4)
        assert guest.page.evaluate(fits)
        for selector in ("#text", "#send", "#mic", "#stage", "#settings-open"):
            box = guest.page.locator(selector).bounding_box()
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= width
            assert box["y"] + box["height"] <= 720

    def test_a_touch_on_the_bar_says_what_its_parts_are(self, visit: Callable[..., Visit], server: LiveServer) -> None:
        guest = visit(server.url, viewport={"width": 400, "height": 860}).enter().ask()
        assert not guest.page.is_visible("#figure-key")
        guest.page.click("#figure-more")
        guest.see("#figure-key", "First block of frames")
        guest.page.click("#figure-more")
        assert not guest.page.is_visible("#figure-key")

    def test_a_phones_head_holds_every_state_in_one_line(self, visit: Callable[..., Visit], server: LiveServer) -> None:
        guest = visit(server.url, viewport={"width": 390, "height": 844}).enter()
        heights = """async () => {
            const {render} = await import("/page/view.js"), head = document.querySelector("header");
            const states = ["ready", "failed", "loading", "free", "opening", "queued", "late", "interrupted"];
            return states.map(state => (render(state, null, [], false), head.offsetHeight));
        }"""
        assert len(set(guest.page.evaluate(heights))) == 1

    def test_all_can_be_done_with_the_keyboard_and_has_a_name(self, guest: Visit) -> None:
        nameless = """() => [...document.querySelectorAll("button, input, textarea, summary, video, canvas")].filter(
            one => one.type !== "hidden"
        ).filter(
            one => ![one.innerText, one.ariaLabel, one.labels?.[0]?.innerText, one.labels?.[0]?.querySelector("[alt]")]
                .some(Boolean)
        ).map(one => one.outerHTML)"""
        for width in (390, 1280):
            guest.page.set_viewport_size({"width": width, "height": 800})
            assert guest.page.evaluate(nameless) == []
        ring = """() => {
            const at = document.activeElement, look = getComputedStyle(at.closest(".tiles label, .field") ?? at);
            return [at.id || at.name || at.type, look.outlineStyle !== "none" || look.boxShadow !== "none"];
        }"""
        guest.page.wait_for_selector("#who button")  # the voices are asked for, and come when they come
        # Where a blurred page goes on from is the browser's business: begin at what comes first.
        guest.page.focus("#settings-open")
        guest.page.keyboard.press("Tab")
        guest.page.keyboard.press("Shift+Tab")
        reached = [guest.page.evaluate(ring)]
        for _ in range(9):
            guest.page.keyboard.press("Tab")
            reached.append(guest.page.evaluate(ring))
        names = ["settings-open", "portrait", "file", "button", *["button"] * 3, "text", "mic", "send"]
        assert reached == [[name, True] for name in names]

    def test_who_wants_no_motion_sees_none(self, visit: Callable[..., Visit], server: LiveServer) -> None:
        guest = visit(server.url, reduced_motion="reduce").enter().type("hold").until("thinking")
        moving = "document.getAnimations().filter(one => one.playState === 'running').length"
        assert guest.page.evaluate(moving) == 0
        guest.page.click("#stop")


@pytest.fixture(scope="module")
def run(browser: Any, server: LiveServer) -> Iterator[Callable[[str, Any], Any]]:
    """Run JavaScript with the module `sound` and something `given`."""
    page = browser.new_page()
    page.goto(server.url)
    body = "async given => {{ const sound = await import('/page/sound.js'); {} }}"
    yield lambda script, given: page.evaluate(body.format(script), given)
    page.close()


class TestSound:
    """The microphone's samples on their way, without a microphone."""

    @pytest.mark.parametrize("rate", [48_000, 44_100, 16_000, 8_000, 96_000])
    def test_any_rate_becomes_16_khz(self, run: Callable[[str, Any], Any], rate: int) -> None:
        script = """const tone = Float32Array.from(
                {length: given.rate}, (_, at) => Math.sin(2 * Math.PI * given.hertz * at / given.rate));
            const of = new sound.Resampler(given.rate), out = [];
            for (let at = 0; at < tone.length; at += given.step) out.push(of.push(tone.slice(at, at + given.step)));
            return [...sound.join([...out, of.flush()])];"""
        whole = np.array(run(script, {"rate": rate, "hertz": 1_000, "step": rate}))
        pieces = np.array(run(script, {"rate": rate, "hertz": 1_000, "step": 777}))
        assert np.array_equal(whole, pieces)
        assert abs(len(whole) - 16_000) <= 20
        wanted = np.sin(2 * np.pi * 1_000 * np.arange(16_000) / 16_000)
        assert np.abs(whole[200:15_800] - wanted[200:15_800]).max() < 2e-3
        if rate > 16_000:
            folded = np.array(run(script, {"rate": rate, "hertz": 9_500, "step": rate}))
            assert np.abs(folded[200:15_800]).max() < 3e-3

    def test_the_wav_is_one(self, run: Callable[[str, Any], Any]) -> None:
        given = [0.0, 1.0, -1.0, 0.5, 2.0]
        made = run("return [...new Uint8Array(await sound.encodeWav(Float32Array.from(given)).arrayBuffer())];", given)
        with wave.open(io.BytesIO(bytes(made))) as file:
            assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 16_000)
            assert np.frombuffer(file.readframes(9), "<i2").tolist() == [0, 32_767, -32_767, 16_384, 32_767]

    @pytest.mark.parametrize(
        ("noise", "guarded", "voice", "heard"),
        [
            (1e-4, False, 0.1, True),
            (0.02, False, 0.3, True),
            (0.02, False, 0.03, False),
            (1e-4, True, 0.2, True),
            (0.02, True, 0.12, False),
        ],
    )
    def test_a_voice_is_told_from_a_room(
        self, run: Callable[[str, Any], Any], noise: float, guarded: bool, voice: float, heard: bool
    ) -> None:
        """3 s of a noisy room, 1 s of voice, 2 s of room, in frames of 20 ms."""
        random = np.random.default_rng(0)
        level = np.repeat([noise, voice, noise], [150, 50, 100])
        frames = (random.standard_normal((300, 320)) * level[:, None]).round(5)
        script = """const gate = new sound.VoiceGate();
            return given.frames.map(frame => gate.push(Float32Array.from(frame), given.guarded));"""
        changes = run(script, {"frames": frames.tolist(), "guarded": guarded})
        found = {change: at for at, change in enumerate(changes) if change}
        if not heard:
            assert found == {}
            return
        assert [change for change in changes if change] == ["start", "end"]
        assert 150 <= found["start"] <= 165, "within 0.3 s"
        assert 235 <= found["end"] <= 245, "0.8 s after the last sound"
