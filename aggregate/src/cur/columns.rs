//! Columns of a report, by the names of CUR 2.0 (`line_item_usage_type`) and of its predecessor (`lineItem/UsageType`).
//!
//! Source: "Cost and Usage Report (CUR) 2.0", AWS Data Exports User Guide.

use std::collections::BTreeMap;
use std::path::Path;

use hashbrown::HashMap;

use super::CurError;
use super::sums::{Line, is_bedrock};

/// A column that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Start,
    LineType,
    Account,
    Payer,
    Principal,
    UsageType,
    ProductCode,
    Service,
    ProductName,
    ServiceName,
    Region,
    Model,
    Unit,
    Description,
    Currency,
    Quantity,
    Cost,
    Net,
    Product,
    Tags,
}

/// Every role with the name of its column; of several the first that is there counts.
pub(super) const ROLES: [(Role, &str); 21] = [
    (Role::Start, "line_item_usage_start_date"),
    (Role::LineType, "line_item_line_item_type"),
    (Role::Account, "line_item_usage_account_id"),
    (Role::Payer, "bill_payer_account_id"),
    (Role::Principal, "line_item_iam_principal"),
    (Role::UsageType, "line_item_usage_type"),
    (Role::ProductCode, "line_item_product_code"),
    (Role::Service, "product_servicecode"),
    (Role::ProductName, "product_product_name"),
    (Role::ServiceName, "product_servicename"),
    (Role::Region, "product_region_code"),
    (Role::Region, "product_region"),
    (Role::Model, "product_model"),
    (Role::Unit, "pricing_unit"),
    (Role::Description, "line_item_line_item_description"),
    (Role::Currency, "line_item_currency_code"),
    (Role::Quantity, "line_item_usage_amount"),
    (Role::Cost, "line_item_unblended_cost"),
    (Role::Net, "line_item_net_unblended_cost"),
    (Role::Product, "product"),
    (Role::Tags, "tags"),
];
/// Number of roles.
pub(super) const COUNT: usize = Role::Tags as usize + 1;
/// Texts of products kept: there are far fewer in any bill.
const PRODUCTS_MAX: usize = 1 << 16;

/// Where each role's column is in a file.
#[derive(Clone, Debug)]
pub(super) struct Columns([Option<usize>; COUNT]);

impl Columns {
    /// Finds the columns of a file.
    pub(super) fn of<'a>(path: &Path, names: impl Iterator<Item = &'a str>) -> Result<Self, CurError> {
        let names: Vec<String> = names.map(canonical).collect();
        let mut columns = Self([None; COUNT]);
        for (role, name) in ROLES {
            let place = &mut columns.0[role as usize];
            *place = place.or_else(|| names.iter().position(|known| known == name));
        }
        let needed = [Role::Start, Role::LineType, Role::UsageType, Role::Quantity, Role::Cost];
        let missing = needed.into_iter().find(|role| columns.at(*role).is_none());
        let service = [Role::Service, Role::ProductCode, Role::Product].into_iter().any(|role| columns.at(role).is_some());
        match missing.or((!service).then_some(Role::Service)) {
            None => Ok(columns),
            Some(role) => {
                let shown: Vec<&str> = names.iter().take(8).map(String::as_str).collect();
                let more = names.len().saturating_sub(8);
                let found = if more > 0 { format!("{} and {more} more", shown.join(", ")) } else { shown.join(", ") };
                Err(CurError::MissingColumn { path: path.to_owned(), column: name(role), found })
            }
        }
    }

    /// Returns the place of a column.
    pub(super) const fn at(&self, role: Role) -> Option<usize> {
        self.0[role as usize]
    }
}

/// Returns the name of a role's column.
pub(super) fn name(role: Role) -> &'static str {
    ROLES.iter().find(|(other, _)| *other == role).map_or("", |(_, name)| name)
}

/// `lineItem/UsageType` becomes `line_item_usage_type`.
fn canonical(name: &str) -> String {
    let name = name.trim_start_matches('\u{feff}').trim();
    let mut snake = String::with_capacity(name.len() + 4);
    let mut before = '_';
    for char in name.chars() {
        let char = if char == '/' { '_' } else { char };
        if char.is_ascii_uppercase() && (before.is_ascii_lowercase() || before.is_ascii_digit()) {
            snake.push('_');
        }
        snake.push(char.to_ascii_lowercase());
        before = char;
    }
    snake
}

/// What a map of a product says.
#[derive(Clone, Debug, Default)]
pub(super) struct Product {
    service: String,
    name: String,
    region: String,
    model: String,
}

impl Product {
    pub(super) fn of(mut pairs: BTreeMap<String, String>) -> Self {
        let mut first =
            |names: &[&str]| names.iter().find_map(|name| pairs.remove(*name).filter(|value| !value.is_empty())).unwrap_or_default();
        Self {
            service: first(&["servicecode"]),
            name: first(&["product_name", "servicename"]),
            region: first(&["region_code", "region"]),
            model: first(&["model"]),
        }
    }
}

/// Products of a JSON column, each text read once.
#[derive(Default)]
pub(super) struct Products(HashMap<String, Product>);

impl Products {
    /// Reads the JSON text of a map; `None` when it is none.
    pub(super) fn read(&mut self, json: &str) -> Option<&Product> {
        if self.0.len() > PRODUCTS_MAX {
            self.0.clear();
        }
        if !self.0.contains_key(json) {
            self.0.insert(json.to_owned(), Product::of(pairs(json)?));
        }
        self.0.get(json)
    }
}

/// Reads the JSON text of a map of texts; nothing for an empty text.
pub(super) fn pairs(json: &str) -> Option<BTreeMap<String, String>> {
    if json.trim().is_empty() {
        return Some(BTreeMap::new());
    }
    let map: BTreeMap<String, serde_json::Value> = serde_json::from_str(json).ok()?;
    let text = |value: serde_json::Value| match value {
        serde_json::Value::String(text) => text,
        serde_json::Value::Null => String::new(),
        other => other.to_string(),
    };
    Some(map.into_iter().map(|(key, value)| (key, text(value))).collect())
}

/// Fills in what a line says of its product, from columns of their own and from the map; tells whether it is of Amazon Bedrock.
pub(super) fn complete<'a>(line: &mut Line<'a>, names: [&'a str; 2], product: Option<&'a Product>) -> bool {
    let or = |own: &'a str, other: fn(&'a Product) -> &'a String| {
        if own.is_empty() { product.map_or("", |product| other(product)) } else { own }
    };
    line.service = or(line.service, |product| &product.service);
    line.region = or(line.region, |product| &product.region);
    line.model = or(line.model, |product| &product.model);
    let [name, service_name] = names;
    let own = if name.is_empty() { service_name } else { name };
    line.product = or(own, |product| &product.name);
    is_bedrock(line.service, line.product_code, line.product)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_both_generations_are_one() {
        for (name, expected) in [
            ("lineItem/UsageStartDate", "line_item_usage_start_date"),
            ("lineItem/LineItemType", "line_item_line_item_type"),
            ("product/ProductName", "product_product_name"),
            ("product/servicecode", "product_servicecode"),
            ("product/regionCode", "product_region_code"),
            ("pricing/unit", "pricing_unit"),
            ("\u{feff}line_item_usage_type", "line_item_usage_type"),
            ("LINE_ITEM_USAGE_TYPE", "line_item_usage_type"),
        ] {
            assert_eq!(canonical(name), expected);
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let path = Path::new("report.csv");
        let names =
            ["line_item_usage_start_date", "line_item_line_item_type", "line_item_usage_amount", "line_item_unblended_cost", "product"];
        let error = Columns::of(path, names.into_iter()).expect_err("no usage type").to_string();
        assert!(error.contains("'line_item_usage_type'") && error.contains("line_item_usage_amount"), "{error}");
        let names = names.into_iter().filter(|name| *name != "product").chain(["line_item_usage_type"]);
        let error = Columns::of(path, names).expect_err("no service").to_string();
        assert!(error.contains("'product_servicecode'"), "{error}");
    }
}
