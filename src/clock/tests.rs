use super::*;

/// How long an answer takes.
const SOON: Duration = Duration::from_millis(30);

/// What our clock says, so many milliseconds after the beginning.
fn ours(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(1_792_000_000_000 + milliseconds).unwrap()
}

/// The `Date` of a server whose clock is so many milliseconds ahead of ours.
fn date(time: Timestamp, ahead: i64) -> String {
    let time = shifted(time, ahead).to_zoned(jiff::tz::TimeZone::UTC);
    time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// What is known after answers that come every 700 ms.
fn after(estimate: &mut Estimate, server: Server, aheads: &[i64]) -> Option<i64> {
    let (mut known, start) = (None, Instant::now());
    let mut now = 0;
    for ahead in aheads {
        let date = date(ours(now), *ahead);
        let at = start + Duration::from_millis(now.unsigned_abs());
        known = estimate.hear(server, Some(&date), SOON, ours(now), at);
        now += 700;
    }
    known
}

#[test]
fn three_answers_tell_how_far_our_clock_is_off_to_half_a_second() {
    for ahead in [-86_400_000, -7_300, 0, 1_200, 45_000] {
        let mut estimate = Estimate::new();
        assert_eq!(after(&mut estimate, Server::Api, &[ahead; 2]), None);
        let known = after(&mut Estimate::new(), Server::Api, &[ahead; 5]).unwrap();
        assert!((known - ahead).abs() <= 500, "{ahead}: {known}");
    }
}

#[test]
fn answers_that_were_read_late_and_one_server_whose_clock_is_wrong_change_nothing() {
    let late = [0, 0, -30_000, 0, -30_000, 0, 60_000, 0, -30_000];
    let known = after(&mut Estimate::new(), Server::Api, &late).unwrap();
    assert!(known.abs() <= 500, "{known}");
}

#[test]
fn aws_is_believed_before_the_api_server() {
    let mut estimate = Estimate::new();
    after(&mut estimate, Server::Aws, &[10_000; 3]);
    let known = after(&mut estimate, Server::Api, &[-4_000; 9]).unwrap();
    assert!((known - 10_000).abs() <= 500, "{known}");
}

#[test]
fn servers_whose_clocks_are_set_are_believed_after_five_answers() {
    let answers = [&[9_000; 9][..], &[0; 4]].concat();
    let known = after(&mut Estimate::new(), Server::Api, &answers).unwrap();
    assert!((known - 9_000).abs() <= 500, "{known}");
    let known = after(
        &mut Estimate::new(),
        Server::Api,
        &[&answers[..], &[0]].concat(),
    )
    .unwrap();
    assert!(known.abs() <= 500, "{known}");
}

#[test]
fn a_burst_of_answers_counts_once_and_what_is_no_date_counts_for_nothing() {
    let (mut estimate, now) = (Estimate::new(), Instant::now());
    after(&mut estimate, Server::Api, &[0; 9]);
    let late = now + Duration::from_mins(1);
    let ours = ours(60_000);
    let wrong = date(ours, 90_000);
    for _ in 0..20 {
        estimate.hear(Server::Api, Some(&wrong), SOON, ours, late);
    }
    assert!(estimate.api.median().unwrap().abs() <= 500);
    for no_date in [None, Some(""), Some("yesterday"), Some("99999999999999")] {
        let known = estimate.hear(Server::Aws, no_date, SOON, ours, late);
        assert_eq!(known, None, "{no_date:?}");
    }
}

#[test]
fn time_goes_on_from_our_first_look_by_what_has_passed() {
    let (said, looked) = *START;
    assert_eq!(reckoned(looked), said);
    let hour = Duration::from_hours(1);
    assert_eq!(reckoned(looked + hour), said + hour);
}

#[test]
fn an_error_is_told_when_it_comes_when_it_grows_and_when_it_has_gone() {
    let mut known = 0;
    for (found, tells, becomes) in [
        (1_900, false, 0),
        (2_100, true, 2_100),
        (600, false, 2_100),
        (1_200_000, true, 1_200_000),
        (1_201_500, false, 1_200_000),
        (300, true, 0),
    ] {
        assert_eq!(
            (differs(&mut known, found), known),
            (tells, becomes),
            "{found}"
        );
    }
}

#[test]
fn an_answer_that_was_long_in_coming_is_not_heard_for_its_date_may_be_of_its_beginning() {
    let (mut estimate, start) = (Estimate::new(), Instant::now());
    let mut hear = |second: i64, took: u64, ahead| {
        let (ours, at) = (
            ours(second * 1000),
            start + Duration::from_secs(second.unsigned_abs()),
        );
        let took = Duration::from_secs(took);
        estimate.hear(Server::Aws, Some(&date(ours, ahead)), took, ours, at)
    };
    for second in [0, 20, 40, 60] {
        assert_eq!(hear(second, 20, -20_000), None, "a long poll");
    }
    let known = [61, 62, 63].map(|second| hear(second, 1, 0));
    assert!(known[2].unwrap().abs() <= 500, "{known:?}");
}

#[test]
fn what_aws_said_long_ago_is_not_believed_on_account_of_one_answer_of_now() {
    let (mut estimate, start) = (Estimate::new(), Instant::now());
    after(&mut estimate, Server::Aws, &[10_000; 9]);
    let mut hear = |server, second: i64| {
        let (ours, at) = (
            ours(second * 1000),
            start + Duration::from_secs(second.unsigned_abs()),
        );
        estimate.hear(server, Some(&date(ours, 0)), SOON, ours, at)
    };
    for second in 600..603 {
        hear(Server::Api, second);
    }
    let known = hear(Server::Aws, 603);
    assert!(known.unwrap().abs() <= 500, "{known:?}");
}
