//! Two lists that must name the same: methods and access rules, reasons in the contract and in the domain.

use std::collections::BTreeSet;

use lodeway_domain::Reason;
use lodeway_proto::{DESCRIPTOR_SET, common::v1::ErrorReason};
use lodeway_rpc::access;

#[test]
fn every_method_has_an_access_rule() {
    let missing = access::platform()
        .methods_without_rule(&[DESCRIPTOR_SET])
        .unwrap();
    assert!(missing.is_empty(), "without a rule: {missing:?}");
}

#[test]
fn every_rule_of_ours_is_of_a_method() {
    let methods = access::method_paths(&[DESCRIPTOR_SET]).unwrap();
    assert!(methods.len() > 60, "{methods:?}");
    for (path, _) in access::platform()
        .iter()
        .filter(|(path, _)| path.starts_with("/lodeway."))
    {
        assert!(
            methods.iter().any(|method| method == path),
            "`{path}` is no method"
        );
    }
}

#[test]
fn the_contract_knows_the_reasons_of_the_domain() {
    let domain: BTreeSet<String> = Reason::ALL
        .iter()
        .map(|r| format!("ERROR_REASON_{}", r.as_str()))
        .collect();
    let contract: BTreeSet<String> = (1..1_000)
        .filter_map(|n| ErrorReason::try_from(n).ok())
        .map(|reason| reason.as_str_name().to_owned())
        .collect();
    assert_eq!(domain, contract);
}
