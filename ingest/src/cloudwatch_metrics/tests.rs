//! Pages, limits and partial answers, against a CloudWatch that is played.

use std::collections::VecDeque;

use super::*;

/// Gives prepared answers and keeps what it was asked.
#[derive(Default)]
struct Played {
    answers: VecDeque<Value>,
    asked: Vec<(&'static str, Value)>,
}

impl Answer for Played {
    fn call(&mut self, operation: &'static str, body: &Value) -> Result<Value, SourceError> {
        self.asked.push((operation, body.clone()));
        Ok(self.answers.pop_front().unwrap_or_else(|| json!({})))
    }

    fn name(&self) -> String {
        "CloudWatch".to_owned()
    }
}

fn metric(dimensions: &[(&str, &str)]) -> Value {
    let dimensions: Vec<Value> = dimensions.iter().map(|(name, value)| json!({ "Name": name, "Value": value })).collect();
    json!({ "MetricName": "Invocations", "Dimensions": dimensions })
}

const HOUR: (Micros, Micros) = (Micros(3_600 * SECOND), Micros(7_200 * SECOND));

#[test]
fn everything_is_read_page_by_page() {
    let tiers = metric(&[("ModelId", "a"), ("ServiceTier", "flex")]);
    let mut played = Played {
        answers: VecDeque::from([
            json!({ "Metrics": [metric(&[("ModelId", "a")]), tiers, metric(&[])], "NextToken": "more" }),
            json!({ "Metrics": [metric(&[("ModelId", "b")])] }),
            json!({ "Metrics": [metric(&[("Model", "m")])] }),
            json!({ "MetricDataResults": [
                { "Id": "q0", "StatusCode": "PartialData", "Timestamps": [3600], "Values": [2.0] },
                { "Id": "q6", "StatusCode": "Complete", "Timestamps": [3660.0], "Values": [70.0] },
                { "Id": "q8", "StatusCode": "Complete", "Timestamps": [3660.0], "Values": [70.0] },
            ], "NextToken": "more" }),
            json!({ "MetricDataResults": [
                { "Id": "q0", "StatusCode": "Complete", "Timestamps": [3660], "Values": [3.0] },
                { "Id": "q14", "StatusCode": "Complete", "Timestamps": [3600], "Values": [1e12] },
                { "Id": "q30", "StatusCode": "Complete", "Timestamps": [3600, 3660], "Values": [4.0, 5.0] },
            ] }),
        ]),
        ..Played::default()
    };
    let also = BTreeSet::from(["c".to_owned()]);
    let reading = read(&mut played, HOUR, 60, &also).unwrap();
    let minute = |second: i64| Micros(second * SECOND);
    let a = &reading.models["a"];
    assert_eq!(a[&minute(3_600)], Counted { invocations: 2, ..Counted::default() });
    assert_eq!(a[&minute(3_660)], Counted { invocations: 3, cache_read: 70, ..Counted::default() });
    assert_eq!(reading.models["b"][&minute(3_600)].input, 1_000_000_000_000);
    assert_eq!(reading.models.keys().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(reading.mantle.invocations, 9);
    let (operation, body) = &played.asked[3];
    assert_eq!((*operation, body["MetricDataQueries"].as_array().unwrap().len()), ("GetMetricData", 34));
    assert_eq!((body["StartTime"].as_i64(), body["EndTime"].as_i64()), (Some(3_600), Some(7_200)));
    assert_eq!(played.asked[4].1["NextToken"], "more");
}

#[test]
fn a_call_asks_for_no_more_than_it_may() {
    let models: BTreeSet<String> = (0..120).map(|number| format!("model-{number}")).collect();
    let mut played = Played::default();
    read(&mut played, HOUR, 60, &models).unwrap();
    let sizes = |played: &Played| -> Vec<usize> {
        let calls = played.asked.iter().filter(|(operation, _)| *operation == "GetMetricData");
        calls.map(|(_, body)| body["MetricDataQueries"].as_array().unwrap().len()).collect()
    };
    assert_eq!(sizes(&played), [500, 500, 200]);
    let mut played = Played::default();
    // Ten days in minutes: seven metrics fill a call.
    read(&mut played, (Micros(0), Micros(864_000 * SECOND)), 60, &models.into_iter().take(1).collect()).unwrap();
    assert_eq!(sizes(&played), [7, 3]);
}

#[test]
fn a_number_that_is_missing_is_no_zero() {
    for result in [
        json!({ "Id": "q0", "StatusCode": "PartialData", "Timestamps": [3600], "Values": [2.0] }),
        json!({ "Id": "q0", "StatusCode": "InternalError" }),
        json!({ "Id": "q0", "StatusCode": "Forbidden" }),
        json!({ "Id": "q0", "Timestamps": [3600], "Values": [] }),
        json!({ "Id": "q0", "Timestamps": [3600], "Values": [-1.0] }),
        json!({ "Id": "x9", "Timestamps": [], "Values": [] }),
    ] {
        let answers = VecDeque::from([json!({}), json!({}), json!({ "MetricDataResults": [result.clone()] })]);
        let error = read(&mut Played { answers, ..Played::default() }, HOUR, 60, &BTreeSet::from(["a".to_owned()])).unwrap_err();
        assert_eq!(error.class(), ErrorClass::Transient, "{result}");
    }
}

#[test]
fn slots_grow_with_age() {
    let now = Micros(100 * sluice_schemas::time::DAY);
    let slots = [99, 87, 50, 30].map(|day| slot_of(Micros(day * sluice_schemas::time::DAY), now));
    assert_eq!(slots, [60, 60, 300, 3_600]);
}
