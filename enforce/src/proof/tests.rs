//! Nothing but a fresh signature over this very order, for the STS that is asked, is shown to STS; and STS alone says who it is of.

use sluice_schemas::time::HOUR;

use super::*;

const NOW: Micros = Micros(1_790_812_800_000_000);
const ARN: &str = "arn:aws:sts::123456789012:assumed-role/admin/ann@example.com";

fn order() -> Command {
    Command {
        id: "release-0a".to_owned(),
        actor: "arn:aws:iam::123456789012:user/ann".to_owned(),
        at: NOW,
        verb: "release".to_owned(),
        arguments: [(REQUEST.to_owned(), r#"{"verb":"release","id":"0a"}"#.to_owned())].into(),
        outcome: None,
    }
}

fn proof() -> Proof {
    let signed = "content-type;host;x-amz-date;x-amz-security-token;x-sluice-order";
    Proof {
        authorization: format!(
            "AWS4-HMAC-SHA256 Credential=ASIAEXAMPLE/20261001/eu-central-1/sts/aws4_request, SignedHeaders={signed}, Signature={}",
            "0f".repeat(32)
        ),
        date: "20261001T000000Z".to_owned(),
        token: Some("IQoJb3JpZ2luX2VjEXAMPLE//////////wEaDGV1==".to_owned()),
    }
}

fn shown(proof: &Proof, now: Micros) -> Result<Proof, ProofError> {
    let mut order = order();
    order.arguments.insert(PROOF.to_owned(), serde_json::to_string(proof).unwrap());
    order.proof("eu-central-1", now)
}

#[test]
fn a_fresh_proof_is_shown_and_nothing_else() {
    assert_eq!(shown(&proof(), NOW), Ok(proof()));
    assert_eq!(shown(&proof(), NOW.plus(LASTS)), Ok(proof()));
    assert_eq!(shown(&proof(), NOW.plus(HOUR)), Err(ProofError::Expired { minutes: 60 }));
    assert_eq!(shown(&proof(), NOW.plus(-AHEAD)), Ok(proof()));
    assert_eq!(shown(&proof(), NOW.plus(-HOUR)), Err(ProofError::Ahead { minutes: 60 }));
    assert_eq!(order().proof("eu-central-1", NOW), Err(ProofError::Missing));
    let long_lived = Proof { token: None, authorization: proof().authorization.replace(";x-amz-security-token", ""), ..proof() };
    assert_eq!(shown(&long_lived, NOW), Ok(long_lived.clone()));
}

#[test]
fn whatever_else_is_signed_or_said_is_refused() {
    let other = |from: &str, to: &str| Proof { authorization: proof().authorization.replacen(from, to, 1), ..proof() };
    let refused = [
        other("/sts/", "/iam/"),
        // Not bound to the order: anybody could put the header in.
        other(";x-sluice-order", ""),
        other("content-type;", ""),
        other("x-amz-security-token;", "x-amz-security-token;x-amz-target;"),
        other("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"),
        other("20261001", "20261002"),
        other("20261001", ""),
        other("ASIAEXAMPLE", "ASIA\r\nhost: evil.example"),
        other("0f", "zz"),
        other("Signature=", "Signature=00"),
        Proof { token: Some("a\r\nx-evil: 1".to_owned()), ..proof() },
        Proof { token: Some(String::new()), ..proof() },
        Proof { token: None, ..proof() },
        Proof { token: Some("a".repeat(LONGEST + 1)), ..proof() },
        Proof { date: "20261001T000000Z\r\nx-evil: 1".to_owned(), ..proof() },
        Proof { date: "2026-10-01T00:00".to_owned(), ..proof() },
        Proof { date: "20261301T000000Z".to_owned(), ..other("20261001", "20261301") },
    ];
    for proof in refused {
        assert!(matches!(shown(&proof, NOW), Err(ProofError::Garbled { .. })), "{proof:?}: {:?}", shown(&proof, NOW));
    }
    let (signed, asked) = ("us-east-1".to_owned(), "eu-central-1".to_owned());
    assert_eq!(shown(&other("eu-central-1", "us-east-1"), NOW), Err(ProofError::Region { signed, asked }));
    // No word of a proof says where it is sent, or what is asked there.
    let mut order = order();
    let with_url = r#"{"authorization": "a", "date": "d", "url": "https://evil.example/"}"#;
    order.arguments.insert(PROOF.to_owned(), with_url.to_owned());
    assert_eq!(order.proof("eu-central-1", NOW), Err(ProofError::Garbled { what: "it cannot be read" }));
}

#[test]
fn a_proof_is_of_one_order() {
    let whole = order();
    let binding = whole.binding("sluice");
    // What another program that gives orders has to come to as well.
    assert_eq!(binding, "491fe7f8b2a77615dcf5fcdb13bb853d80c9375af7bfc5ef21130f2931a1118d");
    let with_proof = Command {
        arguments: [whole.arguments.clone(), [(PROOF.to_owned(), "x".to_owned())].into()].into_iter().flatten().collect(),
        ..whole.clone()
    };
    assert_eq!(with_proof.binding("sluice"), binding, "it cannot be of itself");
    let others = [
        Command { id: "release-0b".to_owned(), ..whole.clone() },
        Command { actor: "arn:aws:iam::123456789012:user/bob".to_owned(), ..whole.clone() },
        Command { at: NOW.plus(1), ..whole.clone() },
        Command { verb: "release_all".to_owned(), ..whole.clone() },
        Command { arguments: [(REQUEST.to_owned(), "{}".to_owned())].into(), ..whole.clone() },
        Command { id: "release-0a\n34:arn".to_owned(), actor: "aws:iam::123456789012:user/ann".to_owned(), ..whole.clone() },
    ];
    for other in others {
        assert_ne!(other.binding("sluice"), binding, "{other:?}");
    }
    assert_ne!(whole.binding("sluice-test"), binding, "an order for another installation");
    let headers = proof().headers(&binding);
    assert!(headers.contains(&(ORDER_HEADER, binding)));
    let named: Vec<(String, String)> = headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    assert_eq!(Proof::of_headers(&named), Some(proof()));
    assert_eq!(Proof::of_headers(&named[1..3]), None);
}

fn answer(arn: &str) -> Reply {
    let xml = format!(
        "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult><Arn>{arn}</Arn>\
         <UserId>AROA:ann</UserId><Account>123456789012</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"
    );
    Reply { body: xml.into_bytes(), request_id: String::new() }
}

fn refusal(status: u16, code: &str, message: &str) -> CallError {
    let (action, request_id) = ("sts:GetCallerIdentity", String::new());
    CallError::Refused { action, status, code: code.to_owned(), message: message.to_owned(), request_id }
}

#[test]
fn sts_alone_says_who_and_a_session_stays_one() {
    assert_eq!(verdict(Ok(answer(ARN))), Verdict::Proven(ARN.to_owned()));
    for (code, message) in [
        ("SignatureDoesNotMatch", "The request signature we calculated does not match"),
        ("SignatureDoesNotMatch", "Signature expired: 20261001T000000Z is now earlier than 20261001T001500Z"),
        ("InvalidClientTokenId", "The security token included in the request is invalid"),
        ("ExpiredToken", "The security token included in the request is expired"),
    ] {
        assert!(matches!(verdict(Err(refusal(403, code, message))), Verdict::Refused(_)), "{code}");
    }
}

#[test]
fn what_is_no_word_of_sts_leaves_the_order_waiting() {
    let (action, host) = ("sts:GetCallerIdentity", "sts.eu-central-1.amazonaws.com".to_owned());
    let waiting = [
        Err(CallError::Network { action, host, detail: "timed out".to_owned() }),
        Err(refusal(503, "ServiceUnavailable", "")),
        Err(refusal(400, "Throttling", "Rate exceeded")),
        // A clock that is behind, a policy of the endpoint, something between that answers in its own words.
        Err(refusal(403, "SignatureDoesNotMatch", "Signature not yet current: 20261001T000700Z is still later than 20261001T000500Z")),
        Err(refusal(403, "AccessDenied", "no VPC endpoint policy allows the sts:GetCallerIdentity action")),
        Err(refusal(407, "407", "")),
        Ok(Reply { body: b"<html>log in first</html>".to_vec(), request_id: String::new() }),
        Ok(Reply { body: b"{\"GetCallerIdentityResponse\":{}}".to_vec(), request_id: String::new() }),
        Ok(answer("")),
    ];
    for answer in waiting {
        let said = format!("{answer:?}");
        assert!(matches!(verdict(answer), Verdict::Waits(_)), "{said}");
    }
    assert_eq!([pause(0), pause(3), pause(40)], [SECOND, 8 * SECOND, 30 * SECOND]);
}
