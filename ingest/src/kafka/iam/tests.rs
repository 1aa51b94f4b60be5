//! Tokens are those of AWS's own signer for Python (aws-msk-iam-sasl-signer-python 1.0.2), byte for byte.

use super::{Credentials, base64_url, token_of};

const AGENT: &str = "aws-msk-iam-sasl-signer-python/1.0.2";
const SIGNED: &str = "aHR0cHM6Ly9rYWZrYS5ldS1jZW50cmFsLTEuYW1hem9uYXdzLmNvbS8_QWN0aW9uPWthZmthLWNsdXN0ZXIlM0FDb25uZWN0JlgtQW16LUFsZ29yaXRobT1BV1M0LUhNQUMtU0hBMjU2JlgtQW16LUNyZWRlbnRpYWw9QUtJREVYQU1QTEUlMkYyMDI2MTAwMSUyRmV1LWNlbnRyYWwtMSUyRmthZmthLWNsdXN0ZXIlMkZhd3M0X3JlcXVlc3QmWC1BbXotRGF0ZT0yMDI2MTAwMVQwMDAwMDBaJlgtQW16LUV4cGlyZXM9OTAwJlgtQW16LVNpZ25lZEhlYWRlcnM9aG9zdCZYLUFtei1TaWduYXR1cmU9OWIzMDIxYmY2MmY0OWIwNGM1NmMwMGQwYmE4ZDkyMzA4YTY1OTE4ZTBmY2Y0ZWEyOTdkYTViNzA4YTFlMjU4ZSZVc2VyLUFnZW50PWF3cy1tc2staWFtLXNhc2wtc2lnbmVyLXB5dGhvbiUyRjEuMC4y";
const SIGNED_WITH_SESSION: &str = "https://kafka.eu-central-1.amazonaws.com/?Action=kafka-cluster%3AConnect&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20261001%2Feu-central-1%2Fkafka-cluster%2Faws4_request&X-Amz-Date=20261001T000000Z&X-Amz-Expires=900&X-Amz-SignedHeaders=host&X-Amz-Security-Token=IQoJb3JpZ2luX2VjE%2Fwith%2Bodd%3Dchars&X-Amz-Signature=5b1b161c14d0105f3e3eb24de058a7b827df5a5ec9be116225980c4607288a9d&User-Agent=aws-msk-iam-sasl-signer-python%2F1.0.2";

fn credentials(session: Option<&str>) -> Credentials {
    Credentials {
        access_key: "AKIDEXAMPLE".to_owned(),
        secret_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned(),
        session_token: session.map(ToOwned::to_owned),
        expires: None,
    }
}

#[test]
fn the_token_of_long_lived_credentials() {
    let now = "2026-10-01T00:00:00Z".parse().expect("a moment");
    let token = token_of("eu-central-1", &credentials(None), now, AGENT);
    assert_eq!(token.text, SIGNED);
    assert_eq!(token.expires.to_string(), "2026-10-01T00:15:00Z");
}

/// The signer puts the session token behind the signed headers; the signature covers the names in order, as the rules ask, so
/// that only the place in the text differs.
#[test]
fn the_signature_of_temporary_credentials() {
    let now = "2026-10-01T00:00:00Z".parse().expect("a moment");
    let mut temporary = credentials(Some("IQoJb3JpZ2luX2VjE/with+odd=chars"));
    temporary.expires = Some("2026-10-01T00:05:00Z".parse().expect("a moment"));
    let token = token_of("eu-central-1", &temporary, now, AGENT);
    let sorted = |url: &str| {
        let (host, query) = url.split_once('?').expect("a query");
        let mut pairs: Vec<&str> = query.split('&').collect();
        pairs.sort_unstable();
        format!("{host}?{}", pairs.join("&"))
    };
    assert_eq!(token.text, base64_url(reordered().as_bytes()));
    assert_eq!(sorted(&reordered()), sorted(SIGNED_WITH_SESSION));
    assert_eq!(token.expires.to_string(), "2026-10-01T00:05:00Z", "a token does not outlive its credentials");
}

fn reordered() -> String {
    let session = "&X-Amz-Security-Token=IQoJb3JpZ2luX2VjE%2Fwith%2Bodd%3Dchars";
    SIGNED_WITH_SESSION.replace(session, "").replace("&X-Amz-SignedHeaders", &format!("{session}&X-Amz-SignedHeaders"))
}

#[test]
fn base64_of_every_length() {
    for (plain, text) in [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg"), ("\u{7ff}\u{7ff}", "37_fvw")] {
        assert_eq!(base64_url(plain.as_bytes()), text);
    }
}

#[test]
fn credentials_never_show_their_secret() {
    let shown = format!("{:?}", credentials(Some("session")));
    assert!(shown.contains("AKIDEXAMPLE") && !shown.contains("wJalr") && !shown.contains("session"), "{shown}");
}

#[test]
fn what_the_environment_lacks_is_named() {
    let error = Credentials::from_env(&|name| (name == "AWS_ACCESS_KEY_ID").then(|| "AKID".to_owned())).expect_err("no secret");
    assert_eq!(error.to_string(), "no AWS credentials: AWS_SECRET_ACCESS_KEY is not set");
}
