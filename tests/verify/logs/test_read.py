from submissions import PROGRAM, log, submission


def one(tmp_path, **files):
    return submission(tmp_path, files=files).logs


def test_the_made_up_folder_is_read(tmp_path):
    logs = submission(tmp_path).logs
    assert [(each.file, each.role, each.seed_logged) for each in logs] == [
        ("train_seed1337.log", "seed", 1337),
        ("train_seed42.log", "seed", 42),
        ("train_seed7.log", "seed", 7),
    ]
    assert all(each.dump_of == "train_gpt.py" and each.dump_differs == 0 for each in logs)


def test_requirements_and_notes_are_no_logs(tmp_path):
    read = submission(
        tmp_path, files={"requirements.txt": "brotli\n", "notes.txt": "nothing\n", "vocab.txt": "seed:1\n"}
    )
    assert len(read.logs) == 3


def test_a_text_with_steps_is_a_log(tmp_path):
    read = submission(tmp_path, files={"out.txt": "step:5/5 train_loss:3.0 train_time:5ms\n"})
    assert "out.txt" in [each.file for each in read.logs]


def test_a_dump_of_another_program_is_told_by_its_lines(tmp_path):
    read = submission(tmp_path, files={"train_seed7.log": log(7, program=PROGRAM.replace("lr = 0.04", "lr = 0.05"))})
    (other,) = [each for each in read.logs if each.file == "train_seed7.log"]
    assert (other.dump_of, other.dump_differs) == (None, 1)
