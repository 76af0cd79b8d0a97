import flyte

env = flyte.TaskEnvironment(name="small")


@env.task
def main(x: int) -> int:
    return x
