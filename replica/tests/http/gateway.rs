//! Pages of canisters, as browsers ask for them.

use crate::support::{self, controller};
use candid::{CandidType, Encode, Principal, define_function};
use ic_http_certification::cel::{DefaultCelBuilder, DefaultResponseCertification};
use ic_http_certification::utils::add_v2_certificate_header;
use ic_http_certification::{
    CERTIFICATE_EXPRESSION_HEADER_NAME, HttpCertification, HttpCertificationPath,
    HttpCertificationTree, HttpCertificationTreeEntry, HttpResponse,
};
use replica::http::Server;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

define_function!(More : (String) -> () query);

#[derive(CandidType)]
enum Strategy {
    Callback { callback: More, token: String },
}

#[derive(CandidType)]
struct Response {
    status_code: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    upgrade: Option<bool>,
    streaming_strategy: Option<Strategy>,
}

#[derive(CandidType)]
struct Chunk {
    body: Vec<u8>,
    token: Option<String>,
}

struct Page {
    status: u16,
    head: String,
    body: Vec<u8>,
}

/// Asks for a page with a connection of its own.
fn get(server: &Server, host: &str, path: &str) -> Page {
    let mut stream = TcpStream::connect(("127.0.0.1", server.port())).expect("a connection");
    let timeout = Some(Duration::from_secs(20));
    stream.set_read_timeout(timeout).expect("a timeout");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let end = end.expect("a head");
    let head = String::from_utf8(answer[..end].to_vec()).expect("text");
    Page {
        status: head[9..12].parse().expect("a status"),
        head: head.to_lowercase(),
        body: answer[end + 4..].to_vec(),
    }
}

fn response(status_code: u16, body: &str) -> Response {
    Response {
        status_code,
        headers: vec![("Content-Type".into(), "text/plain".into())],
        body: body.into(),
        upgrade: None,
        streaming_strategy: None,
    }
}

/// Bytes as WebAssembly text writes them.
fn literal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "\\{byte:02x}").expect("memory");
        text
    })
}

/// A canister whose methods reply what is given.
fn canister(methods: &[(&str, Vec<u8>)]) -> String {
    let bytes: usize = methods.iter().map(|(_, reply)| reply.len()).sum();
    let mut text = format!(
        r#"(module
          (import "ic0" "msg_reply" (func $reply))
          (import "ic0" "msg_reply_data_append" (func $append (param i32 i32)))
          (memory {})"#,
        bytes / 0x10000 + 1
    );
    let mut at = 0;
    for (method, reply) in methods {
        write!(
            text,
            r#"(data (i32.const {at}) "{}")
               (func (export "canister_{method}")
                 (call $append (i32.const {at}) (i32.const {}))
                 (call $reply))"#,
            literal(reply),
            reply.len()
        )
        .expect("memory");
        at += reply.len();
    }
    text.push(')');
    text
}

/// A canister that answers every request with one page, without a certificate.
pub(crate) fn page_canister(content_type: &str, body: &str) -> String {
    let page = Response {
        headers: vec![("Content-Type".into(), content_type.into())],
        ..response(200, body)
    };
    canister(&[("query http_request", Encode!(&page).expect("Candid"))])
}

/// A canister that certifies the page `/page` with `certified` as its body, and answers every
/// request with `body` and that certificate.
fn certified_canister(certified: &str, body: &str) -> String {
    // Its base64, which has the letters of no other part, stands for that of the certificate.
    const PLACEHOLDER: (&[u8], &str) = (b"PLACEHOLDER.", "UExBQ0VIT0xERVIu");
    let expression = DefaultCelBuilder::response_only_certification()
        .with_response_certification(DefaultResponseCertification::certified_response_headers(
            &["Content-Type"][..],
        ))
        .build();
    let mut page = HttpResponse::ok(
        certified.as_bytes().to_vec(),
        vec![
            ("Content-Type".into(), "text/plain".into()),
            (
                CERTIFICATE_EXPRESSION_HEADER_NAME.into(),
                expression.to_string(),
            ),
        ],
    )
    .build();
    let certification =
        HttpCertification::response_only(&expression, &page, None).expect("a certification");
    let path = HttpCertificationPath::exact("/page");
    let entry = HttpCertificationTreeEntry::new(&path, certification);
    let mut tree = HttpCertificationTree::default();
    tree.insert(&entry);
    let witness = tree.witness(&entry, "/page").expect("a witness");
    add_v2_certificate_header(PLACEHOLDER.0, &mut page, &witness, &path.to_expr_path());

    let reply = Encode!(&Response {
        headers: page.headers().to_vec(),
        ..response(200, body)
    })
    .expect("Candid");
    let value = &page.headers().last().expect("the certificate").1;
    let (before, after) = value.split_once(PLACEHOLDER.1).expect("the placeholder");
    // The reply around the header's value, whose length in two bytes comes before it.
    let at = reply
        .windows(value.len())
        .position(|bytes| bytes == value.as_bytes())
        .expect("the value");
    assert!(
        (128..16_384).contains(&value.len()),
        "a length in two bytes"
    );
    let parts = [
        &reply[..at - 2],
        before.as_bytes(),
        after.as_bytes(),
        &reply[at + value.len()..],
        &tree.root_hash(),
    ];
    let offset = |i: usize| 0x8000 + 0x1000 * i;
    let mut text = String::from(CERTIFIED);
    for (i, part) in parts.iter().enumerate() {
        assert!(part.len() <= 0x1000);
        let data = format!("(data (i32.const {}) \"{}\")\n", offset(i), literal(part));
        text = text
            .replace(&format!("AT_{i}"), &offset(i).to_string())
            .replace(&format!("LENGTH_{i}"), &part.len().to_string())
            .replace(";; DATA", &format!("{data};; DATA"));
    }
    text
}

/// Puts the data certificate, in base64, into a reply made of parts.
const CERTIFIED: &str = r#"(module
  (import "ic0" "msg_reply" (func $reply))
  (import "ic0" "msg_reply_data_append" (func $append (param i32 i32)))
  (import "ic0" "certified_data_set" (func $certify (param i32 i32)))
  (import "ic0" "data_certificate_size" (func $size (result i32)))
  (import "ic0" "data_certificate_copy" (func $copy (param i32 i32 i32)))
  (memory 4)
  (data (i32.const 0) "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
  ;; DATA
  (func (export "canister_init")
    (call $certify (i32.const AT_4) (i32.const 32)))
  ;; Base64 of the n bytes at 0x10000, followed by zeros, to 0x20000. Answers its length.
  (func $base64 (param $n i32) (result i32)
    (local $i i32) (local $o i32) (local $word i32) (local $shift i32)
    (local.set $o (i32.const 0x20000))
    (loop $groups
      (if (i32.lt_u (local.get $i) (local.get $n)) (then
        (local.set $word (i32.or (i32.or
          (i32.shl (i32.load8_u offset=0x10000 (local.get $i)) (i32.const 16))
          (i32.shl (i32.load8_u offset=0x10001 (local.get $i)) (i32.const 8)))
          (i32.load8_u offset=0x10002 (local.get $i))))
        (local.set $shift (i32.const 18))
        (loop $letters
          (i32.store8 (local.get $o)
            (i32.load8_u (i32.and (i32.shr_u (local.get $word) (local.get $shift)) (i32.const 63))))
          (local.set $o (i32.add (local.get $o) (i32.const 1)))
          (local.set $shift (i32.sub (local.get $shift) (i32.const 6)))
          (br_if $letters (i32.ge_s (local.get $shift) (i32.const 0))))
        (local.set $i (i32.add (local.get $i) (i32.const 3)))
        (br $groups))))
    (if (i32.eq (i32.rem_u (local.get $n) (i32.const 3)) (i32.const 1)) (then
      (i32.store16 (i32.sub (local.get $o) (i32.const 2)) (i32.const 0x3d3d))))
    (if (i32.eq (i32.rem_u (local.get $n) (i32.const 3)) (i32.const 2)) (then
      (i32.store8 (i32.sub (local.get $o) (i32.const 1)) (i32.const 0x3d))))
    (i32.sub (local.get $o) (i32.const 0x20000)))
  (func (export "canister_query http_request")
    (local $letters i32) (local $length i32)
    (call $copy (i32.const 0x10000) (i32.const 0) (call $size))
    (local.set $letters (call $base64 (call $size)))
    (local.set $length (i32.add (local.get $letters) (i32.const LENGTH_1)))
    (local.set $length (i32.add (local.get $length) (i32.const LENGTH_2)))
    (i32.store8 (i32.const 64) (i32.or (i32.and (local.get $length) (i32.const 127)) (i32.const 128)))
    (i32.store8 (i32.const 65) (i32.shr_u (local.get $length) (i32.const 7)))
    (call $append (i32.const AT_0) (i32.const LENGTH_0))
    (call $append (i32.const 64) (i32.const 2))
    (call $append (i32.const AT_1) (i32.const LENGTH_1))
    (call $append (i32.const 0x20000) (local.get $letters))
    (call $append (i32.const AT_2) (i32.const LENGTH_2))
    (call $append (i32.const AT_3) (i32.const LENGTH_3))
    (call $reply)))"#;

async fn install(server: &Server, wat: &str) -> Principal {
    let agent = support::agent(server, controller()).await;
    support::install(&agent, wat).await.0
}

#[tokio::test(flavor = "multi_thread")]
async fn certified_pages_are_checked() {
    let server = support::server();
    let honest = install(&server, &certified_canister("a page", "a page")).await;
    let page = get(&server, &format!("{honest}.localhost"), "/page");
    assert_eq!(
        (page.status, &page.body[..]),
        (200, &b"a page"[..]),
        "{}",
        page.head
    );
    assert!(page.head.contains("content-type: text/plain"));
    assert!(page.head.contains("access-control-allow-origin: *"));
    let page = get(&server, "localhost", &format!("/page?canisterId={honest}"));
    assert_eq!(page.status, 200);
    let other = get(&server, &format!("{honest}.localhost"), "/other");
    assert_eq!(other.status, 503, "certified for another path");

    let forger = install(&server, &certified_canister("a page", "a lie!")).await;
    let page = get(&server, &format!("{forger}.localhost"), "/page");
    assert_eq!(page.status, 503);
    let page = get(&server, &format!("{forger}.raw.localhost"), "/page");
    assert_eq!((page.status, &page.body[..]), (200, &b"a lie!"[..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn uncertified_pages_are_for_raw_names_only() {
    let server = support::server();
    let reply = Encode!(&response(418, "tea")).expect("Candid");
    let id = install(&server, &canister(&[("query http_request", reply)])).await;
    let page = get(&server, &format!("{id}.localhost"), "/");
    assert_eq!(page.status, 503);
    assert!(String::from_utf8_lossy(&page.body).contains("not certified"));
    let page = get(&server, &format!("{id}.raw.localhost"), "/");
    assert_eq!((page.status, &page.body[..]), (418, &b"tea"[..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn upgrades_streams_and_failures() {
    let server = support::server();
    let query = Response {
        upgrade: Some(true),
        ..response(200, "not this")
    };
    let methods = [
        ("query http_request", Encode!(&query).expect("Candid")),
        (
            "update http_request_update",
            Encode!(&response(201, "updated")).expect("Candid"),
        ),
    ];
    let id = install(&server, &canister(&methods)).await;
    let page = get(&server, &format!("{id}.localhost"), "/");
    assert_eq!((page.status, &page.body[..]), (201, &b"updated"[..]));

    // The callback is in another canister: any may be named.
    let chunk = Some(Chunk {
        body: b" and the end".to_vec(),
        token: None,
    });
    let more = [("query more", Encode!(&chunk).expect("Candid"))];
    let more = install(&server, &canister(&more)).await;
    let begin = Response {
        streaming_strategy: Some(Strategy::Callback {
            callback: More::new(more, "more".into()),
            token: "next".into(),
        }),
        ..response(200, "the beginning")
    };
    let begin = [("query http_request", Encode!(&begin).expect("Candid"))];
    let id = install(&server, &canister(&begin)).await;
    let page = get(&server, &format!("{id}.raw.localhost"), "/");
    assert_eq!(page.body, b"the beginning and the end");

    let page = get(&server, &format!("{more}.localhost"), "/");
    assert_eq!(page.status, 502, "no http_request");
    let nonsense = [("query http_request", b"nonsense".to_vec())];
    let id = install(&server, &canister(&nonsense)).await;
    assert_eq!(get(&server, &format!("{id}.localhost"), "/").status, 502);
    let nobody = Principal::from_slice(&[0, 0, 0, 0, 0, 0, 0, 99, 1, 1]);
    let page = get(&server, &format!("{nobody}.localhost"), "/");
    assert_eq!(page.status, 502);
}
