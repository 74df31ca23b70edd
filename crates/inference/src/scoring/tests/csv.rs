use super::*;

fn csv(body: &str, inputs: &[&str]) -> Result<Parsed, Refused> {
    let signature = (!inputs.is_empty()).then(|| signature(inputs));
    parse(&document("text/csv; charset=utf-8", body), signature.as_ref())
}

#[test]
fn csv_is_read_with_inferred_and_with_given_types() {
    for (body, inputs, wanted) in [
        (
            "i,f,m,b,s,n\n1,0.5,1,True,x,\n-2,1e3,NA,false,,NaN\n",
            &[][..],
            "i INT64[2] 1 -2; f FP64[2] 0.5 1000; m FP64[2] 1 NaN; b BOOL[2] true false; s BYTES[2] x null; n FP64[2] NaN NaN",
        ),
        (
            ",a\n0,\"1, \"\"2\"\"\"\n",
            &[],
            "Unnamed: 0 INT64[1] 0; a BYTES[1] 1, \"2\"",
        ),
        ("a,b\n1,inf\nx,2", &[], "a BYTES[2] 1 x; b FP64[2] inf 2"),
        (
            "b,a,x\n1,2,q\n",
            &["a string", "b double"],
            "a BYTES[1] 2; b FP64[1] 1",
        ),
        (
            "b,a\n1,2.0\n,3\n",
            &["a integer", "b float"],
            "a INT32[2] 2 3; b FP32[2] 1 NaN",
        ),
        (
            "a,b\nTrue,2024-01-01\n",
            &["a boolean", "b datetime"],
            "a BOOL[1] true; b BYTES[1] 2024-01-01",
        ),
        (
            "a,b\n1,2\n3,4.5\n",
            &["_ float32 [-1, 2]"],
            " FP32[2, 2] 1 2 3 4.5",
        ),
    ] {
        match csv(body, inputs) {
            Ok(Parsed::Input(input)) => assert_eq!(words(&input.payload), wanted, "{body}"),
            other => panic!("{body}: {other:?}"),
        }
    }
    for (body, inputs, why) in [
        ("", &[][..], "is empty"),
        ("a\n1,2\n", &[], "more fields in row 0 than the 1 names"),
        ("a\n\"1\n", &[], "a quote that is not closed"),
        (
            "a\nx\n",
            &["a long"],
            "holds text, which does not convert to `long`",
        ),
        ("a\n1.5\n", &["a long"], "holds floats"),
        ("b\n1\n", &["a long"], "is required by the signature and missing"),
    ] {
        let refused = csv(body, inputs).unwrap_err().to_string();
        assert!(refused.contains(why), "{body}: {refused}");
    }
    assert!(matches!(csv("a,a\n1,2\n", &[]), Ok(Parsed::PassOn(_))));
}
