//! One fixed policy comes and goes; others stay.

use super::*;
use crate::lever::json::tests::{Fake, order, refused};

const ID: &str = "111122223333";

/// Policies of one target; a page holds two of them.
fn organizations(policies: &[&str]) -> Fake<Vec<String>> {
    Fake::new(policies.iter().map(|policy| (*policy).to_owned()).collect(), |attached: &mut Vec<String>, call, body| {
        assert_eq!((call.host, call.region.as_str(), call.account.as_str()), ("organizations", "us-east-1", "999900001111"));
        let operation = call.headers[1].1.strip_prefix("AWSOrganizationsV20161128.").unwrap().to_owned();
        let policy = body["PolicyId"].as_str().unwrap_or_default();
        match operation.as_str() {
            "DescribeOrganization" => Ok(json!({ "Organization": { "MasterAccountId": "999900001111" } })),
            "ListPoliciesForTarget" => {
                let from: usize = body["NextToken"].as_str().map_or(0, |token| token.parse().unwrap());
                let page: Vec<Value> = attached.iter().skip(from).take(2).map(|id| json!({ "Id": id })).collect();
                let mut answer = json!({ "Policies": page });
                if from + 2 < attached.len() {
                    answer["NextToken"] = (from + 2).to_string().into();
                }
                Ok(answer)
            }
            "AttachPolicy" if attached.iter().any(|id| id == policy) => Err(refused(call, 400, "DuplicatePolicyAttachmentException")),
            "AttachPolicy" if attached.len() == 5 => Err(refused(call, 400, "ConstraintViolationException")),
            "AttachPolicy" => {
                attached.push(policy.to_owned());
                Ok(json!({}))
            }
            "DetachPolicy" if attached.len() == 1 && attached[0] == policy => Err(refused(call, 400, "ConstraintViolationException")),
            "DetachPolicy" => match attached.iter().position(|id| id == policy) {
                Some(at) => {
                    attached.remove(at);
                    Ok(json!({}))
                }
                None => Err(refused(call, 400, "PolicyNotAttachedException")),
            },
            other => panic!("{other}"),
        }
    })
}

fn scp() -> Scp {
    Scp::new("p-deny", "999900001111", "us-east-1")
}

fn account(id: &str) -> Subject {
    Subject::OrganizationTarget { id: id.to_owned() }
}

#[test]
fn attached_and_detached_once_however_often_it_is_asked() {
    for before in [vec!["p-FullAWSAccess", "p-b", "p-c"], vec!["p-FullAWSAccess", "p-b", "p-c", "p-deny"]] {
        let aws = organizations(&before);
        let (subject, holds) = (account(ID), ["h".to_owned()]);
        let order = order(&subject, &holds);
        let seen = scp().look(&aws, &order).unwrap();
        assert_eq!(seen.stands, before.len() == 4);
        (0..2).for_each(|_| drop(scp().pull(&aws, &order).unwrap()));
        assert!(scp().look(&aws, &order).unwrap().stands);
        (0..2).for_each(|_| drop(scp().lift(&aws, &order, &seen.image).unwrap()));
        assert_eq!(aws.state(|attached| attached.clone()), before);
        if before.len() == 3 {
            aws.check_grants(&scp());
        }
    }
}

#[test]
fn what_cannot_be_is_told() {
    let holds = ["h".to_owned()];
    let full = organizations(&["a", "b", "c", "d", "e"]);
    assert!(matches!(scp().pull(&full, &order(&account(ID), &holds)), Err(LeverError::Full { .. })));
    let error = scp().look(&organizations(&["a"]), &order(&account("999900001111"), &holds)).unwrap_err();
    assert!(error.to_string().contains("management account") && error.falls_back(), "{error}");
    for id in ["r-ab12", "12", "o-abc", ""] {
        assert!(scp().fits(&account(id)).is_err(), "{id}");
    }
    assert!(scp().fits(&account("ou-ab12-cdefgh34")).is_ok());
    let last = organizations(&["p-deny"]);
    assert!(matches!(scp().lift(&last, &order(&account(ID), &holds), &Value::Null), Err(LeverError::Call(_))));
    for (code, is_it) in [
        ("TargetNotFoundException", (|error| matches!(error, LeverError::Gone { .. })) as fn(&LeverError) -> bool),
        ("PolicyTypeNotEnabledException", |error| matches!(error, LeverError::Unfit { .. })),
        ("PolicyNotFoundException", |error| matches!(error, LeverError::Unfit { .. })),
        ("AWSOrganizationsNotInUseException", |error| matches!(error, LeverError::Unfit { .. })),
        ("AccessDeniedException", |error| matches!(error, LeverError::Call(_))),
    ] {
        let aws = Fake::new((), move |(), call, _| Err(refused(call, 400, code)));
        assert!(is_it(&scp().pull(&aws, &order(&account(ID), &holds)).unwrap_err()), "{code}");
    }
}
