//! A key is deactivated, and activated again only where this deactivated it.

use std::collections::BTreeMap;

use super::*;
use crate::lever::json::tests::{Fake, order, refused};

const KEY: &str = "ACCAEXAMPLE123456789";
const OTHER: &str = "ACCAEXAMPLE999999999";

fn subject(credential: &str) -> Subject {
    Subject::ApiKey { user: "arn:aws:iam::111122223333:user/bots/triage".to_owned(), credential: credential.to_owned() }
}

/// Keys by id: service and status.
fn iam(status: &str) -> Fake<BTreeMap<&'static str, (&'static str, String)>> {
    let keys = [(KEY, ("bedrock.amazonaws.com", status.to_owned())), (OTHER, ("codecommit.amazonaws.com", "Active".to_owned()))];
    Fake::new(keys.into(), |keys, call, body| {
        assert_eq!((call.host, call.global, call.account.as_str()), ("iam", true, "111122223333"));
        let form = body.as_str().unwrap();
        let field = |name: &str| form.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        assert_eq!((field("UserName"), field("Version")), (Some("triage"), Some("2010-05-08")));
        match field("Action").unwrap() {
            "ListServiceSpecificCredentials" => {
                // The service is left to the caller here, as a service that does not know the field would.
                let (first, second): (Vec<_>, Vec<_>) = keys.iter().partition(|(id, _)| **id == OTHER);
                let page = if field("Marker").is_some() { first } else { second };
                let member = |(id, (service, status)): (&&str, &(&str, String))| {
                    format!(
                        "<member><ServiceName>{service}</ServiceName><Status>{status}</Status><ServiceSpecificCredentialId>{id}</ServiceSpecificCredentialId></member>"
                    )
                };
                let list: String = page.into_iter().map(member).collect();
                let more = if field("Marker").is_some() { "false</IsTruncated>" } else { "true</IsTruncated><Marker>m&amp;1</Marker>" };
                Ok(format!("<X><ListServiceSpecificCredentialsResult><ServiceSpecificCredentials>{list}</ServiceSpecificCredentials><IsTruncated>{more}</ListServiceSpecificCredentialsResult></X>").into())
            }
            "UpdateServiceSpecificCredential" => match keys.get_mut(field("ServiceSpecificCredentialId").unwrap()) {
                None => Err(refused(call, 404, "NoSuchEntity")),
                Some((_, status)) => {
                    *status = field("Status").unwrap().to_owned();
                    Ok("<X/>".into())
                }
            },
            other => panic!("{other}"),
        }
    })
}

#[test]
fn only_what_it_deactivated_is_activated_again() {
    for before in ["Active", "Inactive", "Expired"] {
        let aws = iam(before);
        let (subject, holds) = (subject(KEY), ["h".to_owned()]);
        let order = order(&subject, &holds);
        let lever = ApiKey::default();
        let seen = lever.look(&aws, &order).unwrap();
        assert_eq!(seen.stands, before != "Active");
        (0..2).for_each(|_| drop(lever.pull(&aws, &order).unwrap()));
        assert!(lever.look(&aws, &order).unwrap().stands);
        (0..2).for_each(|_| drop(lever.lift(&aws, &order, &seen.image).unwrap()));
        assert_eq!(aws.state(|keys| keys[KEY].1.clone()), before);
        assert_eq!(aws.writes().len(), if before == "Active" { 2 } else { 0 });
        if before == "Active" {
            aws.check_grants(&lever);
        }
    }
}

#[test]
fn keys_of_other_services_and_keys_that_are_gone_are_not_there() {
    let (lever, holds) = (ApiKey::default(), ["h".to_owned()]);
    for credential in [OTHER, "ACCAEXAMPLE000000000"] {
        let aws = iam("Active");
        let error = lever.pull(&aws, &order(&subject(credential), &holds)).unwrap_err();
        assert!(matches!(error, LeverError::Gone { .. }), "{error}");
        assert_eq!(aws.state(|keys| keys[OTHER].1.clone()), "Active");
        assert!(
            aws.calls().iter().any(|call| matches!(&call.body, Body::Form(form) if form.contains("Marker=m%261"))),
            "all pages are read"
        );
    }
    for bad in [subject("short"), Subject::ApiKey { user: "arn:aws:iam::111122223333:role/x".to_owned(), credential: KEY.to_owned() }] {
        assert!(matches!(lever.fits(&bad), Err(LeverError::Unfit { .. })), "{bad}");
    }
}
