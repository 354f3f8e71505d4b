use super::{
    Factory,
    bench::{Bench, done},
};
use crate::{LogStream, v1};

pub(super) async fn output_is_logged_by_stream_and_line(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let sandbox = bench.sandbox("words").await;
    let id = bench.start(&sandbox, "main", "echo one; echo two >&2; echo 'three  spaces'").await;
    bench.ended(&id).await;
    let lines = bench.logged("words", "main", 3).await;
    let of = |stream: LogStream| -> Vec<&str> {
        let one = lines.iter().filter(|(from, _)| *from == stream);
        one.map(|(_, text)| text.as_str()).collect()
    };
    assert_eq!(of(LogStream::Stdout), ["one", "three  spaces"]);
    assert_eq!(of(LogStream::Stderr), ["two"]);
    let status = done(bench.runtime.container_status(&id)).await;
    assert_eq!(status.log_path, bench.log_path("words", "main").display().to_string());
    bench.clean(&sandbox).await;
}

pub(super) async fn a_reopened_log_goes_on_in_a_new_file(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let sandbox = bench.sandbox("rotated").await;
    let id = bench.start(&sandbox, "main", "echo one; sleep 2; echo two; sleep 1000").await;
    bench.logged("rotated", "main", 1).await;
    let path = bench.log_path("rotated", "main");
    let old = path.with_extension("old");
    std::fs::rename(&path, &old).expect("the log moves");
    done(bench.runtime.reopen_container_log(&id)).await;
    let lines = bench.logged("rotated", "main", 1).await;
    assert_eq!(lines[0].1, "two");
    let old = std::fs::read_to_string(old).expect("the old log");
    assert_eq!(old.lines().count(), 1);
    bench.clean(&sandbox).await;
}

pub(super) async fn environment_and_mounts_reach_the_process(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let sandbox = bench.sandbox("given").await;
    let data = bench.directory.join("data");
    std::fs::create_dir_all(&data).expect("the directory to mount");
    std::fs::write(data.join("key"), "from the mount\n").expect("the file to mount");
    let script = "echo \"$GREETING\"; cat /data/key; echo written > /data/answer";
    let mut config = bench.container_config("main", script);
    let value = b"hello there".to_vec().into();
    config.envs = vec![v1::KeyValue { key: "GREETING".to_owned(), value }];
    config.mounts = vec![v1::Mount {
        container_path: "/data".to_owned(),
        host_path: data.display().to_string(),
        ..Default::default()
    }];
    let id = bench.create(&sandbox, config).await;
    done(bench.runtime.start_container(&id)).await;
    assert_eq!(bench.ended(&id).await.exit_code, 0);
    let lines = bench.logged("given", "main", 2).await;
    assert_eq!(lines[0].1, "hello there");
    assert_eq!(lines[1].1, "from the mount");
    assert_eq!(std::fs::read_to_string(data.join("answer")).expect("the answer"), "written\n");
    bench.clean(&sandbox).await;
}
