//! The tag is set, taken away, and what stood before is put back.

use std::collections::BTreeMap;

use super::*;
use crate::lever::json::tests::{Fake, order, refused};

const ARN: &str = "arn:aws:bedrock:us-east-1:111122223333:application-inference-profile/a1b2c3d4e5f6";

type Kept = BTreeMap<String, String>;

fn bedrock(tags: &[(&str, &str)]) -> Fake<Option<Kept>> {
    let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Fake::new(Some(tags), |profile: &mut Option<Kept>, call, body| {
        assert_eq!(
            (call.region.as_str(), call.account.as_str(), call.host, call.method),
            ("us-east-1", "111122223333", "bedrock", Method::Post)
        );
        assert_eq!(body["resourceARN"], ARN);
        let Some(tags) = profile else { return Err(refused(call, 404, "ResourceNotFoundException")) };
        match call.path.as_str() {
            "/listTagsForResource" => {
                Ok(json!({ "tags": tags.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect::<Vec<_>>() }))
            }
            "/tagResource" => {
                for tag in body["tags"].as_array().unwrap() {
                    tags.insert(tag["key"].as_str().unwrap().to_owned(), tag["value"].as_str().unwrap().to_owned());
                }
                if tags.len() > 3 { Err(refused(call, 400, "TooManyTagsException")) } else { Ok(json!({})) }
            }
            "/untagResource" => {
                body["tagKeys"].as_array().unwrap().iter().for_each(|key| drop(tags.remove(key.as_str().unwrap())));
                Ok(json!({}))
            }
            other => panic!("{other}"),
        }
    })
}

#[test]
fn exactly_what_stood_before_is_put_back() {
    for before in [vec![("team", "t")], vec![("team", "t"), (TAG, "free")], vec![(TAG, HELD)]] {
        let aws = bedrock(&before);
        let tags = aws.state(|tags| tags.clone());
        let (subject, holds) = (Subject::Profile { arn: ARN.to_owned() }, ["h".to_owned()]);
        let order = order(&subject, &holds);
        let image = Profile.look(&aws, &order).unwrap().image;
        (0..2).for_each(|_| drop(Profile.pull(&aws, &order).unwrap()));
        assert!(Profile.look(&aws, &order).unwrap().stands);
        (0..2).for_each(|_| drop(Profile.lift(&aws, &order, &image).unwrap()));
        assert_eq!(aws.state(|tags| tags.clone()), tags, "{before:?}");
        if before.len() == 1 && before[0].0 == "team" {
            aws.check_grants(&Profile);
        }
    }
}

#[test]
fn a_tag_that_someone_changed_meanwhile_stays() {
    let aws = bedrock(&[]);
    let (subject, holds) = (Subject::Profile { arn: ARN.to_owned() }, ["h".to_owned()]);
    let image = Profile.look(&aws, &order(&subject, &holds)).unwrap().image;
    Profile.pull(&aws, &order(&subject, &holds)).unwrap();
    aws.state(|tags| tags.as_mut().unwrap().insert(TAG.to_owned(), "free".to_owned()));
    assert!(!Profile.look(&aws, &order(&subject, &holds)).unwrap().stands);
    Profile.lift(&aws, &order(&subject, &holds), &image).unwrap();
    assert_eq!(aws.state(|tags| tags.as_ref().unwrap()[TAG].clone()), "free");
}

#[test]
fn what_cannot_be_is_told() {
    let (subject, holds) = (Subject::Profile { arn: ARN.to_owned() }, ["h".to_owned()]);
    let full = bedrock(&[("a", ""), ("b", ""), ("c", "")]);
    assert!(matches!(Profile.pull(&full, &order(&subject, &holds)), Err(LeverError::Full { .. })));
    let aws = bedrock(&[]);
    aws.state(|profile| *profile = None);
    assert!(matches!(Profile.look(&aws, &order(&subject, &holds)), Err(LeverError::Gone { .. })));
    for arn in ["arn:aws:bedrock:us-east-1:111122223333:inference-profile/us.x", "us.anthropic.x"] {
        assert!(matches!(Profile.fits(&Subject::Profile { arn: arn.to_owned() }), Err(LeverError::Unfit { .. })));
    }
}
