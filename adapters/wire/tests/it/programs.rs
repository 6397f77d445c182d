//! Cores that are programs: how they connect, and what is said of those that misbehave.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use contract::{ErrorCode, ReplicationCore as _};
use tempfile::TempDir;
use wire::client::{Client, CoreAddress, Session, SystemClock};
use wire::protocol::Time;

/// What each script begins with: the two ways to connect, and the handshake.
const PRELUDE: &str = r#"
import json, os, socket, sys, time
def over_socket():
    s = socket.socket(socket.AF_UNIX); s.connect(os.environ["ROUNDTRIP_CORE_SOCKET"])
    f = s.makefile("rwb", buffering=0); return f, f
def over_stdio():
    return sys.stdin.buffer, sys.stdout.buffer
def send(f, m):
    f.write((json.dumps(m) + "\n").encode()); f.flush()
def connect(f, g, version="1.0"):
    send(g, {"jsonrpc": "2.0", "id": "c", "method": "suite.connect",
             "params": {"protocol": version, "name": "test", "version": "7", "time": ["system"]}})
    return json.loads(f.readline())
def serve(f, g):
    for line in f:
        request = json.loads(line)
        if request["method"] == "core.capabilities":
            result = {"name": "test 7", "operations": [], "plans": {"groups": 0, "items": 0}}
            send(g, {"jsonrpc": "2.0", "id": request["id"], "result": result})
        elif "id" in request:
            send(g, {"jsonrpc": "2.0", "id": request["id"], "error": {"code": -32601, "message": "no"}})
"#;

fn open(body: &str) -> (Client, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("core.py");
    std::fs::write(&script, format!("{PRELUDE}\n{body}\n")).unwrap();
    let words = vec!["python3".to_owned(), script.display().to_string()];
    let session = Session {
        platforms: BTreeMap::new(),
        state_dir: dir.path().to_owned(),
        run: "test".to_owned(),
        clock: Arc::new(SystemClock),
        time: Time::System,
        log: None,
        observer: None,
    };
    (Client::open(CoreAddress::Program { words, dir: None }, session), dir)
}

#[tokio::test]
async fn a_core_speaks_through_the_socket_or_through_its_standard_streams() {
    for way in ["over_socket", "over_stdio"] {
        let body = format!("print('hello', flush=True)\nf, g = {way}()\nconnect(f, g)\nserve(f, g)");
        let (client, _dir) = open(&body);
        let (connect, connected) = client.handshake().await.unwrap();
        assert_eq!((connect.version.as_str(), connected.time), ("7", Time::System), "{way}");
        assert_eq!(client.capabilities().await.unwrap().name, "test 7", "{way}");
        // A method that the core does not have is one that it does not support.
        assert_eq!(client.items().await.unwrap_err().code, ErrorCode::NotSupported, "{way}");
    }
}

#[tokio::test]
async fn what_a_core_does_wrong_is_one_line() {
    let cases = [
        ("sys.exit(3)", "the core's process exited with code 3"),
        ("print('no module', file=sys.stderr); sys.exit(1)", "the last line of its log is: no module"),
        (
            "f, g = over_stdio(); connect(f, g, '2.1'); f.read()",
            "the core speaks version 2.1 of the protocol",
        ),
        (
            "f, g = over_stdio(); send(g, {'jsonrpc': '2.0', 'id': 1, 'method': 'clock.now'}); f.read()",
            "clock.now",
        ),
        (
            "f, g = over_stdio(); connect(f, g); f.readline(); g.write(b'{\"jsonrpc\"'); g.flush(); os._exit(0)",
            "exited",
        ),
        ("f, g = over_stdio(); connect(f, g); send(g, []); f.read()", "not a message of JSON-RPC 2.0: []"),
        (
            "f, g = over_stdio(); connect(f, g); send(g, {'jsonrpc': '2.0', 'id': 99, 'result': 1}); f.read()",
            "the id 99",
        ),
    ];
    for (body, line) in cases {
        let (client, _dir) = open(body);
        let error = client.capabilities().await.unwrap_err();
        assert_eq!(error.code, ErrorCode::Protocol, "{body}");
        assert!(error.message.contains(line) && !error.message.contains('\n'), "{body}: {}", error.message);
    }
}

#[tokio::test]
async fn a_dropped_client_kills_the_whole_process_group() {
    let body = "import subprocess\nchild = subprocess.Popen(['sleep', '600'])\n\
                open(os.environ['ROUNDTRIP_CORE_STATE_DIR'] + '/child', 'w').write(str(child.pid))\n\
                f, g = over_socket()\nconnect(f, g)\nserve(f, g)";
    let (client, dir) = open(body);
    client.capabilities().await.unwrap();
    let child = std::fs::read_to_string(dir.path().join("child")).unwrap();
    drop(client);
    let started = Instant::now();
    let state = format!("/proc/{child}/stat");
    // A process that is dead and not yet reaped by its new parent is gone as well.
    while std::fs::read_to_string(&state).is_ok_and(|text| !text.contains(") Z ")) {
        assert!(started.elapsed() < Duration::from_secs(20), "process {child} is left");
        tokio::task::yield_now().await;
    }
}
