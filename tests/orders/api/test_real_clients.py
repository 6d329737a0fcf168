"""Programs that others wrote, at the intake: curl, Python's, Node's, Go's and the JDK's clients, nginx and HAProxy."""

import asyncio
import contextlib
import http.client
import json
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from config.settings import Settings
from orders.access import clients
from orders.journal import connect
from tests.intake import ORDER, serving
from tests.machines.roles import above
from tests.waiting import until

BATCH = "/orders/batch"
NODE = """
const [url, key] = process.argv.slice(1);
const headers = {authorization: `Bearer ${key}`, "content-type": "application/json"};
const lines = async function* () { for (const n of [1, 2]) yield process.env["LINE" + n] + "\\n"; };
const one = await fetch(url + "/orders", {method: "POST", headers, body: process.env.LINE0});
const many = await fetch(url + "/orders/batch", {method: "POST", headers, body: lines(), duplex: "half"});
console.log(one.status, many.status, (await many.text()).split('"accepted"').length - 1);
"""
JAVA = """
import java.net.URI;
import java.net.http.*;
import java.net.http.HttpRequest.BodyPublishers;
public class Front {
    static String send(HttpClient client, String url, String key, String body, boolean waits) throws Exception {
        var asked = HttpRequest.newBuilder(URI.create(url)).header("Authorization", "Bearer " + key)
            .expectContinue(waits).POST(BodyPublishers.ofString(body)).build();
        var answer = client.send(asked, HttpResponse.BodyHandlers.ofString());
        return answer.statusCode() + ":" + (answer.body().split("\\"accepted\\"").length - 1);
    }
    public static void main(String[] said) throws Exception {
        var client = HttpClient.newHttpClient();
        System.out.print(send(client, said[0] + "/orders", said[1], said[2], false) + " ");
        System.out.print(send(client, said[0] + "/orders", said[1], said[3], true) + " ");
        System.out.print(send(client, said[0] + "/orders/batch", said[1], said[4], false) + " ");
        System.out.println(send(client, said[0] + "/orders/batch", said[1], said[5], true));
    }
}
"""
GO = """
package main

import ("fmt"; "io"; "net/http"; "os"; "strings")

func send(url, key, body string, piped, waits bool) string {
    var from io.Reader = strings.NewReader(body)
    if piped {
        reader, writer := io.Pipe()
        go func() {
            for _, line := range strings.SplitAfter(body, "\\n") { io.WriteString(writer, line) }
            writer.Close()
        }()
        from = reader
    }
    asked, _ := http.NewRequest("POST", url, from)
    asked.Header.Set("Authorization", "Bearer " + key)
    if waits { asked.Header.Set("Expect", "100-continue") }
    answer, err := http.DefaultClient.Do(asked)
    if err != nil { return err.Error() }
    defer answer.Body.Close()
    said, err := io.ReadAll(answer.Body)
    if err != nil { return err.Error() }
    return fmt.Sprintf("%d:%d", answer.StatusCode, strings.Count(string(said), "\\"accepted\\""))
}

func main() {
    url, key, said := os.Args[1], os.Args[2], os.Args[3:]
    fmt.Println(send(url + "/orders", key, said[0], false, false), send(url + "/orders", key, said[1], false, true),
        send(url + "/orders/batch", key, said[2], false, false), send(url + "/orders/batch", key, said[3], true, true),
        send(url + "/orders", "none", said[0], false, false), send(url + "/orders", key, "{}", true, false))
}
"""
NGINX = """
user root; pid {home}/nginx.pid; error_log {home}/error.log; daemon off;
events {{}}
http {{ access_log off; client_body_temp_path {home}/b; proxy_temp_path {home}/p; fastcgi_temp_path {home}/f;
  uwsgi_temp_path {home}/u; scgi_temp_path {home}/s;
  server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass {url}; }} }} }}
"""
HAPROXY = """
defaults
  mode http
  timeout connect 5s
  timeout client 50s
  timeout server 50s
listen relais
  bind 127.0.0.1:{port}
  server intake {address}
"""


def order(reference: str) -> str:
    return json.dumps({**ORDER, "reference": reference})


def needed(program: str) -> str:
    found = shutil.which(program, path="/usr/local/sbin:/usr/sbin:/usr/local/bin:/usr/bin:/bin") or shutil.which(
        program
    )
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


def beside(settings: Settings, work: Callable[[str, str], Any]) -> Any:
    """What `work(url, key)` returns, done in a thread beside the intake."""

    async def main() -> Any:
        engine = connect(above(settings.need("database_url")))
        key = await clients.add(engine, "front")
        await engine.dispose()
        async with serving(settings) as url:
            return await asyncio.to_thread(work, url, str(key))

    return asyncio.run(main())


def run(*argv: str, **more: Any) -> str:
    done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=60, **more)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    "options",
    [
        ["--http2"],
        ["--http1.0"],
        ["-H", "Expect: 100-continue"],
        ["-H", "Transfer-Encoding: chunked"],
        ["--compressed"],
    ],
    ids=lambda options: options[-1].strip("-"),
)
def test_curl_hands_over_an_order_and_a_batch(settings: Settings, options: list[str]) -> None:
    curl = needed("curl")

    def work(url: str, key: str) -> None:
        common = [curl, "-sS", *options, "-H", f"Authorization: Bearer {key}", "--data-binary"]
        assert json.loads(run(*common, order("C1"), url + "/orders"))["kept"] == "journal"
        said = run(*common, order("C2") + "\n" + order("C3"), url + BATCH)
        assert [json.loads(line)["status"] for line in said.splitlines()] == ["accepted"] * 2

    beside(settings, work)


def test_curl_shows_its_password_when_it_is_asked_for_it(settings: Settings) -> None:
    curl = needed("curl")

    def work(url: str, key: str) -> None:
        asked = [curl, "-sS", "-o", "/dev/null", "-w", "%{http_code}", "--anyauth", "-u", f"pharmacy:{key}"]
        assert run(*asked, "--data-binary", "<a/>", url + "/pharmaml") == "200"

    beside(settings, work)


def test_curl_has_its_refusal_while_it_still_sends(settings: Settings, tmp_path: Path) -> None:
    curl = needed("curl")
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(200_000_000)

    def work(url: str, key: str) -> None:
        for shown, wanted in ((key, "413"), ("none", "401")):
            asked = [curl, "-sS", "-o", "/dev/null", "-w", "%{http_code}", "-H", f"Authorization: Bearer {shown}"]
            assert run(*asked, "-H", "Expect:", "-T", str(large), "-X", "POST", url + "/orders") == wanted

    beside(settings, work)


def test_pythons_client_hands_over_on_one_connection(settings: Settings) -> None:
    def work(url: str, key: str) -> None:
        front = http.client.HTTPConnection(url.removeprefix("http://"), timeout=20)
        for number, (path, wanted) in enumerate([("/orders", 202), (BATCH, 200), ("/orders", 202), ("/nowhere", 404)]):
            body = (piece for piece in [order(f"P{number}").encode(), b"\n"])
            front.request("POST", path, body, {"Authorization": f"Bearer {key}"}, encode_chunked=True)
            answer = front.getresponse()
            answer.read()
            assert (path, answer.status) == (path, wanted)
        front.close()

    beside(settings, work)


def test_nodes_client_hands_over_an_order_and_a_streamed_batch(settings: Settings) -> None:
    node = needed("node")

    def work(url: str, key: str) -> None:
        lines = {f"LINE{n}": order(f"N{n}") for n in range(3)}
        assert run(node, "--input-type=module", "-e", NODE, url, key, env=lines) == "202 200 2"

    beside(settings, work)


def test_the_jdks_client_hands_over_with_its_defaults_and_where_it_waits_to_go_on(
    settings: Settings, tmp_path: Path
) -> None:
    """By default it offers HTTP/2 with every request."""
    java = needed("java")
    needed("javac")  # which running a source file takes
    source = tmp_path / "Front.java"
    source.write_text(JAVA)

    def work(url: str, key: str) -> None:
        bodies = [order("J1"), order("J2"), order("J3") + "\n" + order("J4"), order("J5") + "\n" + order("J6")]
        assert run(java, str(source), url, key, *bodies) == "202:0 202:0 200:2 200:2"

    beside(settings, work)


@pytest.mark.slow  # Go's compiler takes its time
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_gos_client_hands_over_directly_and_through_proxies(settings: Settings, tmp_path: Path) -> None:
    go = needed("go")
    source, program = tmp_path / "front.go", tmp_path / "front"
    source.write_text(GO)
    home = {"HOME": str(tmp_path), "GO111MODULE": "off", "CGO_ENABLED": "0"}
    run(go, "build", "-o", str(program), str(source), env=home)

    def work(url: str, key: str) -> None:
        with proxied("nginx", url, tmp_path) as nginx, proxied("haproxy", url, tmp_path) as haproxy:
            for name, at in (("D", url), ("N", f"http://{nginx}"), ("H", f"http://{haproxy}")):
                first, second, *rest = [order(f"{name}{number}") for number in range(6)]
                batches = "\n".join(rest[:2]), "\n".join(rest[2:])
                said = run(str(program), at, key, first, second, *batches)
                assert (name, said) == (name, "202:0 202:0 200:2 200:2 401:0 422:0")

    beside(settings, work)


@contextlib.contextmanager
def proxied(name: str, url: str, home: Path) -> Iterator[str]:
    program = needed(name)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = home / f"{name}.conf"
    text = NGINX if name == "nginx" else HAPROXY
    config.write_text(text.format(home=home, port=port, url=url, address=url.removeprefix("http://")))
    argv = [program, "-c" if name == "nginx" else "-f", str(config)]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as proxy:
        try:
            until(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0)
            yield f"127.0.0.1:{port}"
        finally:
            proxy.terminate()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("name", ["nginx", "haproxy"])
def test_a_proxy_with_its_defaults_brings_orders_batches_and_refusals(
    settings: Settings, tmp_path: Path, name: str
) -> None:
    def work(url: str, key: str) -> None:
        with proxied(name, url, tmp_path) as address:
            front = http.client.HTTPConnection(address, timeout=20)
            headers = {"Authorization": f"Bearer {key}"}

            def ask(path: str, body: bytes, **more: str) -> tuple[int, bytes]:
                front.request("POST", path, body, {**headers, **more})
                answer = front.getresponse()
                return answer.status, answer.read()

            assert ask("/orders", order("X1").encode())[0] == 202
            lines = b"\n".join(order(f"X{n}").encode() for n in range(10, 1_010))
            status, said = ask(BATCH, lines)
            assert (status, said.count(b'"accepted"')) == (200, 1_000)
            assert ask("/orders", b"{}", Authorization="Bearer none")[0] == 401
            assert ask("/orders", b"{}")[0] == 422
            assert ask("/orders", order("X2").encode())[0] == 202
            front.close()

    beside(settings, work)
