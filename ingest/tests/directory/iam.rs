//! Roles and users.

use sluice_ingest::directory::Wanted;
use sluice_schemas::directory::EntryKind;

use super::fake::{Answer, Fake, asker};

const TRUST: &str = "%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%5B%7B%22Effect%22%3A%22Allow%22%2C%22Principal%22%3A%7B%22AWS%22%3A%22arn%3Aaws%3Aiam%3A%3A111122223333%3Arole%2Fbroker%22%7D%2C%22Action%22%3A%5B%22sts%3AAssumeRole%22%2C%22sts%3ATagSession%22%5D%2C%22Condition%22%3A%7B%22StringEquals%22%3A%7B%22aws%3ARequestTag%2Fagent%22%3A%22%24%7Baws%3AUsername%7D%22%7D%7D%7D%5D%7D";

fn role(trust: &str) -> String {
    format!(
        "<GetRoleResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\"><GetRoleResult><Role><Path>/agents/</Path><RoleName>triage</RoleName><RoleId>AROA</RoleId><Arn>arn:aws:iam::111122223333:role/agents/triage</Arn><AssumeRolePolicyDocument>{trust}</AssumeRolePolicyDocument></Role></GetRoleResult></GetRoleResponse>"
    )
}

fn tags(call: &str, key: &str, more: &str) -> String {
    format!(
        "<{call}Response><{call}Result><Tags><member><Key>{key}</Key><Value>v</Value></member></Tags>{more}</{call}Result></{call}Response>"
    )
}

fn wanted() -> Wanted {
    Wanted::of_principal("arn:aws:sts::111122223333:assumed-role/triage/session").unwrap()
}

#[test]
fn a_role_its_pins_and_all_pages_of_its_tags() {
    let fake = Fake::start(|asked, _| match asked.body.as_str() {
        "Action=GetRole&Version=2010-05-08&RoleName=triage" => Answer::ok(role(TRUST)),
        "Action=ListRoleTags&Version=2010-05-08&RoleName=triage" => {
            Answer::ok(tags("ListRoleTags", "team", "<IsTruncated>true</IsTruncated><Marker>p 2</Marker>"))
        }
        "Action=ListRoleTags&Version=2010-05-08&RoleName=triage&Marker=p%202" => {
            Answer::ok(tags("ListRoleTags", "cost", "<IsTruncated>false</IsTruncated>"))
        }
        other => panic!("{other}"),
    });
    let entry = asker(&fake, &[]).look_up(&wanted(), None).unwrap();
    assert_eq!(
        (entry.kind, entry.arn.as_str(), entry.name.as_str()),
        (EntryKind::Role, "arn:aws:iam::111122223333:role/agents/triage", "triage")
    );
    assert_eq!(entry.pins.tag_keys, ["agent"]);
    assert_eq!(entry.tags.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["cost", "team"]);
    let asked = fake.asked.lock().unwrap();
    assert!(asked.iter().skip(1).all(|one| one.authorization.contains("/us-east-1/iam/aws4_request")));
}

#[test]
fn a_trust_policy_that_cannot_be_read_is_no_policy_without_pins() {
    let fake = Fake::start(|_, _| Answer::ok(role("%7Bnonsense")));
    let error = asker(&fake, &[]).look_up(&wanted(), None).unwrap_err();
    assert!(error.to_string().contains("trust policy"), "{error}");
}

#[test]
fn users_of_api_keys() {
    let user = Wanted::of_principal("arn:aws:iam::111122223333:user/BedrockAPIKey-ab12").unwrap();
    let fake = Fake::start(|asked, _| {
        assert_eq!(asked.body, "Action=ListUserTags&Version=2010-05-08&UserName=BedrockAPIKey-ab12");
        Answer::ok(tags("ListUserTags", "team", ""))
    });
    let entry = asker(&fake, &[]).look_up(&user, None).unwrap();
    assert_eq!(
        (entry.kind, entry.arn.as_str(), entry.tags.len()),
        (EntryKind::User, "arn:aws:iam::111122223333:user/BedrockAPIKey-ab12", 1)
    );
    let gone = Fake::start(|_, _| Answer {
        status: 404,
        error: String::new(),
        body: "<ErrorResponse><Error><Code>NoSuchEntity</Code><Message>gone</Message></Error></ErrorResponse>".to_owned(),
    });
    let entry = asker(&gone, &[]).look_up(&user, None).unwrap();
    assert!(entry.deleted && entry.arn.ends_with("user/BedrockAPIKey-ab12"));
}

#[test]
fn the_role_of_another_account_is_taken_on() {
    let fake = Fake::start(|asked, _| {
        if asked.body.contains("Action=AssumeRole") {
            assert!(asked.body.contains("RoleArn=arn%3Aaws%3Aiam%3A%3A999999999999%3Arole%2Freader"), "{}", asked.body);
            return Answer::ok(
                "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><AssumedRoleUser><AssumedRoleId>A:s</AssumedRoleId><Arn>arn:aws:sts::999999999999:assumed-role/reader/s</Arn></AssumedRoleUser><Credentials><AccessKeyId>ASIAOTHER</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>",
            );
        }
        assert!(asked.authorization.contains("Credential=ASIAOTHER/"), "{}", asked.authorization);
        Answer::ok(tags("ListUserTags", "team", ""))
    });
    let user = Wanted::of_principal("arn:aws:iam::999999999999:user/u").unwrap();
    let entry = asker(&fake, &[("999999999999", "arn:aws:iam::999999999999:role/reader")]).look_up(&user, None).unwrap();
    assert_eq!(entry.arn, "arn:aws:iam::999999999999:user/u");
}
