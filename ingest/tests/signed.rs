//! Signed calls against a server of one's own: what is sent, what comes back, and one that never answers.

#![cfg(test)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use sluice_ingest::signed::{AskError, Body, Manner, Question, SdkConfig, SignedClient};
use sluice_schemas::Micros;

fn client(listener: &TcpListener) -> SignedClient {
    let credentials = Credentials::new("AKIDEXAMPLE", "secret", None, None, "test");
    let config = SdkConfig::builder()
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .endpoint_url(format!("http://{}", listener.local_addr().unwrap()))
        .build();
    SignedClient::with_role(&config, None).unwrap()
}

fn question(path: &str, body: Body) -> Question {
    Question { host: "iam", service: "iam", region: "us-east-1".to_owned(), global: true, path: path.to_owned(), body }
}

/// Reads a request: its head, and the body that it announces.
fn read(stream: &TcpStream) -> String {
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
        head += &line;
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    head + &String::from_utf8(body).unwrap()
}

/// Answers one request and returns it.
fn answer(listener: TcpListener, answer: &'static str) -> JoinHandle<String> {
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let request = read(&stream);
        stream.write_all(answer.as_bytes()).unwrap();
        request
    })
}

#[test]
fn what_is_sent_and_what_comes_back() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = client(&listener);
    let server = answer(listener, "HTTP/1.1 200 OK\r\nx-amzn-RequestId: id-1\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}");
    let manner = Manner {
        method: Some("PUT".parse().unwrap()),
        headers: vec![("X-Amzn-Bedrock-AgentCore-Runtime-Session-Id", "session".to_owned())],
        timeout: None,
    };
    let found = client.send(&question("/a?b=c", Body::Json("{\"d\":1}".to_owned())), &manner, Micros(0)).unwrap();
    assert_eq!((found.body.as_slice(), found.request_id.as_str()), (&b"{}"[..], "id-1"));
    let request = server.join().unwrap().to_ascii_lowercase();
    assert!(request.starts_with("put /a?b=c http/1.1\r\n") && request.ends_with("{\"d\":1}"), "{request}");
    let signed = "signedheaders=content-type;host;x-amz-date;x-amzn-bedrock-agentcore-runtime-session-id,";
    assert!(request.contains(signed) && request.contains("x-amzn-bedrock-agentcore-runtime-session-id: session\r\n"), "{request}");
}

#[test]
fn a_refusal_has_the_id_of_its_request() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = client(&listener);
    let body = "HTTP/1.1 409 Conflict\r\nx-amzn-requestid: id-2\r\ncontent-length: 60\r\nconnection: close\r\n\r\n\
                <E><Error><Code>LimitExceeded</Code><Message/></Error></E>  ";
    let server = answer(listener, body);
    let error = client.ask(&question("/", Body::Form("Action=AttachRolePolicy".to_owned())), Micros(0)).unwrap_err();
    let expected = (409, "LimitExceeded", "id-2");
    assert!(
        matches!(&error, AskError::Refused { status, code, request_id, .. } if (*status, code.as_str(), request_id.as_str()) == expected),
        "{error:?}"
    );
    assert!(server.join().unwrap().contains("application/x-www-form-urlencoded"));
}

#[test]
fn a_service_that_never_answers_is_left_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = client(&listener);
    let manner = Manner { timeout: Some(Duration::from_millis(200)), ..Manner::default() };
    let began = Instant::now();
    let error = client.send(&question("/", Body::None), &manner, Micros(0)).unwrap_err();
    assert!(matches!(error, AskError::Network { .. }), "{error}");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}
