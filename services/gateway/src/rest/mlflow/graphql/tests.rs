use super::*;

fn limits(query: &str) -> Result<(), String> {
    check_limits(&parse_query(query).unwrap())
}

#[test]
fn big_queries_are_refused() {
    let many: String = (0..12)
        .map(|i| format!("k{i}: test(inputString: \"a\") {{ output }} "))
        .collect();
    assert!(
        limits(&format!("query q {{ {many} }}"))
            .unwrap_err()
            .contains("should have at most 10 root fields")
    );
    let aliases: String = (0..12).map(|i| format!("e{i}: experiment {{ name }} ")).collect();
    let query = format!("query q {{ mlflowGetExperiment(input: {{experimentId: \"1\"}}) {{ {aliases} }} }}");
    assert!(
        limits(&query)
            .unwrap_err()
            .contains("queries should have at most 10 aliases")
    );
    let deep = (0..12).fold("name".to_owned(), |inner, _| format!("name {{ {inner} }}"));
    assert!(
        limits(&format!("{{ a {{ {deep} }} }}"))
            .unwrap_err()
            .contains("Query exceeds maximum depth of 10")
    );
    let wide: String = (0..1_002).map(|i| format!("f{i} {{ name }} ")).collect();
    assert!(
        limits(&format!("{{ a {{ b {{ {wide} }} }} }}"))
            .unwrap_err()
            .contains("maximum total selections of 1000")
    );
    assert!(limits("query q @component(name: \"T\") { test(inputString: \"a\") { output } }").is_ok());
}

#[test]
fn leaves_have_defaults() {
    assert_eq!(Type::Long.render(&json!(5)), json!("5"));
    assert_eq!(Type::Long.render(&Value::Null), json!("0"));
    assert_eq!(Type::Float.render(&json!("NaN")), Value::Null);
    assert_eq!(Type::Text.render(&Value::Null), json!(""));
    assert_eq!(types::snake("mlflowGetRun"), "mlflow_get_run");
}
