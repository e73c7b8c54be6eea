"""Claims on shards: each is taken by one worker, and from one who is gone."""

from concurrent.futures import ThreadPoolExecutor

from croco.executors.claims import Claims


def claims(root, worker, gone=()):
    return Claims(root, worker, lambda names: set(names) & set(gone))


def test_workers_that_start_at_once_share_the_shards(tmp_path):
    def take_all(worker):
        own, taken = claims(tmp_path, worker), []
        left = set(range(40))
        while left and (found := list(own.take(sorted(left)))):
            taken += found
            left -= set(found)
        return taken

    with ThreadPoolExecutor(8) as pool:
        taken = [shard for own in pool.map(take_all, [f"7_{k}" for k in range(8)]) for shard in own]
    assert sorted(set(taken)) == list(range(40))
    # Two may want one at the same moment, and one of them gets it.
    assert len(taken) == 40


def test_a_worker_comes_back_to_its_own_shard_and_takes_those_of_the_gone(tmp_path):
    assert list(claims(tmp_path, "7_0").take([0, 1])) == [0]
    assert list(claims(tmp_path, "7_1").take([0, 1])) == [1]
    assert list(claims(tmp_path, "7_2").take([0, 1])) == []
    assert list(claims(tmp_path, "7_0").take([0, 1])) == [0]  # requeued under its name
    assert list(claims(tmp_path, "7_2", gone=["7_1"]).take([0, 1])) == [1]
    assert claims(tmp_path, "").owner(1) == "7_2"


def test_a_shard_that_was_tried_is_left_until_somebody_submits_again(tmp_path):
    own = claims(tmp_path, "7_0")
    assert list(own.take([0])) == [0]
    own.tried(0)
    assert list(own.take([0])) == []
    assert list(claims(tmp_path, "7_1", gone=["7_0"]).take([0])) == []
    claims(tmp_path, "").drop([0])
    assert list(claims(tmp_path, "8_0").take([0])) == [0]


def test_dropping_leaves_the_claims_of_those_at_work(tmp_path):
    list(claims(tmp_path, "7_0").take([0]))
    list(claims(tmp_path, "7_1").take([1]))
    claims(tmp_path, "", gone=["7_1"]).drop([0, 1, 2])
    assert [claims(tmp_path, "").owner(shard) for shard in (0, 1, 2)] == ["7_0", "", ""]
