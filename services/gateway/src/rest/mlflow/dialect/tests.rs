use lodeway_domain::filter::{
    EXPERIMENTS, LOGGED_MODELS, MODEL_VERSIONS, OrderBy, REGISTERED_MODELS, RUNS, Schema,
};

use super::*;

fn schema(entity: Entity) -> &'static Schema {
    match entity {
        Entity::Runs => &RUNS,
        Entity::Experiments => &EXPERIMENTS,
        Entity::RegisteredModels => &REGISTERED_MODELS,
        Entity::ModelVersions => &MODEL_VERSIONS,
        Entity::LoggedModels => &LOGGED_MODELS,
    }
}

/// The native text, which must parse natively.
fn native(text: &str, entity: Entity) -> String {
    let native = filter(text, entity).unwrap_or_else(|e| panic!("{text}: {}", e.message));
    Expr::parse(&native, schema(entity)).unwrap_or_else(|e| panic!("{native}: {e}"));
    native
}

fn refused(text: &str, entity: Entity) -> String {
    filter(text, entity).expect_err(text).message
}

#[test]
fn runs_are_searched_by_everything() {
    for (mlflow, expected) in [
        ("", ""),
        (
            "metrics.loss < 0.2 and tags.team = 'a'",
            "metrics.loss < 0.2 AND tags.team = 'a'",
        ),
        ("metric.`a b` >= 1", "metrics.`a b` >= 1.0"),
        (
            "tags.\"mlflow.source.type\" LIKE '%x%'",
            "tags.mlflow.source.type LIKE '%x%'",
        ),
        ("tags.'mlflow.source.type' = 'x'", "tags.mlflow.source.type = 'x'"),
        (
            "metrics.'a b' > 0 and params.'p' != 'q'",
            "metrics.`a b` > 0.0 AND params.p != 'q'",
        ),
        ("params.p ilike \"It''s\"", "params.p ILIKE 'It''''s'"),
        ("parameter.p = 'It''s'", "params.p = 'It''''s'"),
        (
            "run_name = 'n' AND attributes.status != 'FAILED'",
            "name = 'n' AND status != 'FAILED'",
        ),
        ("status = 'Runing'", "status >= 'Runing' AND status <= 'Runing'"),
        (
            "status != 'running' and run_name = 'n'",
            "(status < 'running' OR status > 'running') AND name = 'n'",
        ),
        ("attr.`Run name` = 'n'", "name = 'n'"),
        ("created > 1700000000000", "start_time > 1700000000000"),
        ("run_id IN ('abc', 'ABC')", "run_id IN ('abc')"),
        ("run_id NOT IN ('abc')", "run_id NOT IN ('abc')"),
        ("dataset.context = 'train'", "datasets.context = 'train'"),
        ("datasets.name IN ('a', 'b')", "datasets.name IN ('a', 'b')"),
        ("metrics.m = -1e-3", "metrics.m = -0.001"),
        (
            "tags.team IS NULL and params.`a b` is not null",
            "tags.team IS NULL AND params.`a b` IS NOT NULL",
        ),
    ] {
        assert_eq!(native(mlflow, Entity::Runs), expected);
    }
    assert_eq!(native("run_id IN ('ABC')", Entity::Runs), "run_id IN ('')");
}

#[test]
fn what_runs_do_not_have_is_refused() {
    for (text, message) in [
        ("foo.bar = 'x'", "Invalid entity type 'foo'"),
        ("bar = 'x'", "Invalid attribute key 'bar'"),
        ("dataset.foo = 'x'", "Invalid dataset key 'foo'"),
        ("params.p = 5", "Expected a quoted string value"),
        ("tags.t = x", "not quoted"),
        ("metrics.m = 'x'", "Expected numeric value type"),
        ("start_time = 'x'", "Expected numeric value type"),
        ("metrics.m LIKE 'x'", "Expected numeric value type"),
        ("params.p > 'x'", "Invalid comparator '>'"),
        ("status > 'x'", "Invalid comparator"),
        ("name", "Invalid clause(s) in filter string: 'name'"),
        (
            "metrics.m > 1 OR metrics.m < 0",
            "Invalid clause(s) in filter string: 'OR",
        ),
        ("(metrics.m > 1)", "Invalid clause(s) in filter string"),
        ("metrics.m > 1 AND", "Invalid clause(s) in filter string"),
        ("metrics.m > 1; metrics.n > 2", "multiple expression"),
        ("metrics.m >", "Invalid clause(s) in filter string"),
        ("tags.a IS 'NULL'", "Invalid clause(s) in filter string"),
        ("tags.a IS NOT 'x'", "Invalid clause(s) in filter string"),
        ("metrics.m IS NULL", "only supported for tags and params"),
        ("end_time is not null", "only supported for tags and params"),
        ("tags.`a = 'x'", "Invalid clause(s) in filter string"),
        (
            "status IN ('a')",
            "Only the 'run_id' attribute supports comparison with a list",
        ),
        ("run_id IN ()", "non-empty list"),
        ("run_id IN (1)", "expected string value"),
        ("run_id IN ('a' 'b')", "ill-formed list"),
        ("tags.t = 'unclosed", "Invalid clause(s) in filter string"),
    ] {
        let told = refused(text, Entity::Runs);
        assert!(told.contains(message), "{text}: {told}");
    }
}

#[test]
fn other_entities_have_fewer_fields() {
    assert_eq!(
        native("name LIKE 'a/%' AND creation_time > 5", Entity::Experiments),
        "name LIKE 'a/%' AND create_time > 5"
    );
    assert!(refused("name IN ('a')", Entity::Experiments).contains("No attribute supports"));
    assert!(
        refused("name > 'a'", Entity::Experiments).contains("Invalid comparator for string attribute: >")
    );
    assert!(refused("metrics.m > 1", Entity::Experiments).contains("Invalid entity type 'metrics'"));
    assert_eq!(
        native(
            "name = 'm' and version_number >= 2 and run_id in ('a1')",
            Entity::ModelVersions
        ),
        "name = 'm' AND version >= 2 AND run_id IN ('a1') AND NOT tags.mlflow.prompt.is_prompt = 'true'"
    );
    assert!(
        refused("version_number = 'x'", Entity::ModelVersions)
            .contains("Invalid value for numeric attribute 'version_number': 'x'")
    );
    assert!(native("version_number >= '1'", Entity::ModelVersions).starts_with("version >= 1 AND"));
    assert!(
        refused("run_id NOT IN ('a')", Entity::ModelVersions)
            .contains("Invalid comparator for attribute: NOT IN")
    );
    assert_eq!(
        native(
            "metrics.loss < 1 AND params.p IN ('a', 'B') AND model_id = 'm-1'",
            Entity::LoggedModels
        ),
        "metrics.loss < 1.0 AND params.p IN ('a', 'B') AND model_id = 'm-1'"
    );
    for (plain, quoted) in [
        ("tags.my-team = 'x'", "tags.`my-team` = 'x'"),
        ("params.max/depth-1 != '3'", "params.`max/depth-1` != '3'"),
        ("metrics.a-b>1", "metrics.`a-b` > 1"),
    ] {
        let of = |filter| native(filter, Entity::LoggedModels);
        assert_eq!(of(plain), of(quoted), "{plain}");
        refused(plain, Entity::Runs);
    }
    assert!(refused("metric.loss < 1", Entity::LoggedModels).contains("Invalid entity type"));
}

#[test]
fn decimals_lie_between_whole_values() {
    for (mlflow, expected) in [
        ("start_time = 1050.5", "start_time <= 1050 AND start_time >= 1051"),
        ("start_time != 1050.5", "start_time <= 1050 OR start_time >= 1051"),
        ("start_time >= 1050.5", "start_time >= 1051"),
        ("start_time > 1050.5", "start_time >= 1051"),
        ("end_time < 1050.5", "end_time <= 1050"),
        ("end_time <= -0.5", "end_time <= -1"),
        ("attributes.created = 1050.0", "start_time = 1050"),
        ("start_time < 1.05e3", "start_time < 1050"),
        ("start_time < 1e30", "start_time < 9223372036854775807"),
        (
            "start_time != 0.5 AND tags.t = 'a'",
            "(start_time <= 0 OR start_time >= 1) AND tags.t = 'a'",
        ),
    ] {
        assert_eq!(native(mlflow, Entity::Runs), expected, "{mlflow}");
    }
    assert_eq!(
        native("creation_time = 1.5", Entity::LoggedModels),
        "create_time <= 1 AND create_time >= 2"
    );
    for (text, entity, message) in [
        (
            "creation_time = 1.5",
            Entity::Experiments,
            "Invalid value for numeric attribute 'creation_time': '1.5'",
        ),
        (
            "attribute.last_update_time > 1.0",
            Entity::Experiments,
            "Invalid value for numeric attribute 'last_update_time': '1.0'",
        ),
        (
            "version_number = 1.5",
            Entity::ModelVersions,
            "Invalid value for numeric attribute 'version_number': 1.5",
        ),
    ] {
        assert_eq!(refused(text, entity), message);
    }
}

#[test]
fn texts_are_what_stands_between_their_quotes() {
    for (mlflow, expected) in [
        (r"params.dir = 'C:\data\'", r"params.dir = 'C:\data\'"),
        (r#"params.dir = "C:\data\""#, r"params.dir = 'C:\data\'"),
        (r"params.dir LIKE '%\'", r"params.dir LIKE '%\'"),
        (r"params.dir = '\'", r"params.dir = '\'"),
        (r"params.dir = '\\'", r"params.dir = '\\'"),
        (r"params.dir = 'it\'s'", r"params.dir = 'it\''s'"),
        (r"params.dir = 'it\'s\'", r"params.dir = 'it\''s\'"),
        (r#"params.dir = "a\"b""#, r#"params.dir = 'a\"b'"#),
        (r#"params.dir = "a""b""#, r#"params.dir = 'a""b'"#),
        ("params.dir = ''''", "params.dir = ''''''"),
        (
            r#"params.a = "x\" AND params.b = 'y'"#,
            r"params.a = 'x\' AND params.b = 'y'",
        ),
        (
            r"params.a = 'x\'' AND params.b = 'y'",
            r"params.a = 'x\''' AND params.b = 'y'",
        ),
        (
            r#"params.a = "x' or params.b = 'y""#,
            "params.a = 'x'' or params.b = ''y'",
        ),
        (r#"params."a\"b" = 'x'"#, r#"params.`a\"b` = 'x'"#),
        ("params.`a``b` = 'x'", "params.`a````b` = 'x'"),
    ] {
        assert_eq!(native(mlflow, Entity::Runs), expected, "{mlflow}");
    }
    for entity in [Entity::Experiments, Entity::LoggedModels] {
        assert_eq!(native(r"tags.a = 'it\'s'", entity), r"tags.a = 'it\''s'");
    }
    for entity in [Entity::RegisteredModels, Entity::ModelVersions] {
        assert!(native(r"tags.a = 'it\'s'", entity).starts_with(r"tags.a = 'it\''s' AND"));
    }
    for text in [
        r"params.a = 'x\' AND params.b = 'y'",
        r#"params.a = "x\" AND params.b = "y""#,
        "params.a = 'x''",
        "params.a = 'x'y'",
        r"params.a = '",
        r#"params.a = ""#,
        r"params.`a\`b` = 'x'",
    ] {
        let told = refused(text, Entity::Runs);
        assert!(
            told.contains("Invalid clause(s) in filter string"),
            "{text}: {told}"
        );
    }
}

#[test]
fn entries_of_lists_have_escapes() {
    for (mlflow, expected) in [
        (
            r"datasets.name IN ('it\'s', 'y')",
            "datasets.name IN ('it''s', 'y')",
        ),
        (r#"datasets.name IN ("a\"b")"#, r#"datasets.name IN ('a"b')"#),
        (
            r"datasets.name IN ('a\\b', 'c:\data')",
            r"datasets.name IN ('a\b', 'c:\data')",
        ),
        ("datasets.name IN ('it''s')", "datasets.name IN ('it''s')"),
    ] {
        assert_eq!(native(mlflow, Entity::Runs), expected, "{mlflow}");
    }
    assert!(refused(r"datasets.name IN ('a\', 'b')", Entity::Runs).contains("ill-formed list"));
}

#[test]
fn prompts_are_hidden_unless_asked_for() {
    let hidden = "NOT tags.mlflow.prompt.is_prompt = 'true'";
    let shown = "tags.mlflow.prompt.is_prompt = 'true'";
    for (text, expected) in [
        ("", hidden),
        ("tags.`mlflow.prompt.is_prompt` = 'true'", shown),
        ("tags.`mlflow.prompt.is_prompt` != 'false'", shown),
        ("tags.`mlflow.prompt.is_prompt` = 'false'", hidden),
        ("tags.`mlflow.prompt.is_prompt` != 'true'", hidden),
    ] {
        assert_eq!(native(text, Entity::RegisteredModels), expected);
    }
}

#[test]
fn orders_end_in_something_unique() {
    let order = |items: &[&str], entity| {
        let items: Vec<String> = items.iter().map(|i| (*i).to_owned()).collect();
        let terms = order_by(&items, entity).map_err(|e| e.message)?;
        OrderBy::parse_list(&terms, schema(entity)).map_err(|e| e.to_string())?;
        Ok::<_, String>(terms.join(", "))
    };
    assert_eq!(order(&[], Entity::Runs).unwrap(), "start_time DESC, run_id ASC");
    assert_eq!(
        order(&["metrics.`a b` DESC", "attributes.start_time asc"], Entity::Runs).unwrap(),
        "metrics.`a b` DESC, start_time ASC, run_id ASC"
    );
    assert_eq!(
        order(&["timestamp DESC"], Entity::RegisteredModels).unwrap(),
        "update_time DESC, name ASC"
    );
    assert_eq!(
        order(&["version_number"], Entity::ModelVersions).unwrap(),
        "version ASC, name ASC"
    );
    assert_eq!(
        order(&["name DESC"], Entity::Experiments).unwrap(),
        "name DESC, experiment_id ASC"
    );
    assert_eq!(
        order(&["name", "name DESC"], Entity::Experiments).unwrap(),
        "name ASC, experiment_id ASC"
    );
    for (items, entity, message) in [
        (
            vec!["name ASC", "creation_timestamp DESC"],
            Entity::RegisteredModels,
            "Invalid order by key '",
        ),
        (
            vec!["name ASC", "last_updated_timestamp DESC blah"],
            Entity::RegisteredModels,
            "Invalid order_by clause '",
        ),
        (
            vec!["metrics.a", "metrics.a DESC"],
            Entity::Runs,
            "contains duplicate fields",
        ),
        (vec!["metrics.a sideways"], Entity::Runs, "Invalid ordering key"),
        (vec!["foo"], Entity::Runs, "Invalid attribute key"),
        (vec!["a, b"], Entity::Runs, "Invalid order_by clause"),
        (vec![""], Entity::Runs, "Invalid order_by clause"),
    ] {
        let told = order(&items, entity).unwrap_err();
        assert!(told.contains(message), "{items:?}: {told}");
    }
    assert_eq!(logged_model_field("metrics.loss").unwrap(), "metrics.loss");
    assert_eq!(logged_model_field("creation_time").unwrap(), "create_time");
    assert!(logged_model_field("params.p").is_err() && logged_model_field("foo").is_err());
}

/// What is shown of an infinite metric finds it.
#[test]
fn the_greatest_double_stands_for_infinity() {
    for entity in [Entity::Runs, Entity::LoggedModels] {
        for (shown, meant) in [
            ("metrics.m <= 1.7976931348623157e308", "metrics.m <= 1e999"),
            ("metrics.m = -1.7976931348623157E+308", "metrics.m = -1e999"),
        ] {
            assert_eq!(native(shown, entity), native(meant, entity), "{shown}");
        }
    }
}
