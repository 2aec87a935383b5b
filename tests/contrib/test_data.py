"""The libraries of data people read and write through `objstore://`."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fsspec")

from objstore.store import ObjectStore
from tests.conftest import Traffic

# They warn of each other, and of what they will change.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def need(*modules: str) -> list[Any]:
    """Return modules, or skip the test that needs them."""
    for module in modules:
        pytest.importorskip(module, reason=f"{module} is not installed (extra test-data)")
    return [importlib.import_module(module) for module in modules]


@pytest.fixture
def url(filesystem: Any, store: ObjectStore) -> str:
    """The URL of an empty bucket."""
    return f"objstore://{store.bucket}"


@pytest.fixture
def frame() -> Any:
    (pandas,) = need("pandas")
    return pandas.DataFrame(
        {
            "n": range(1000),
            "word": [f"w{n % 7}" for n in range(1000)],
            "half": [n / 2 for n in range(1000)],
        }
    )


@pytest.mark.parametrize("name", ["x.csv", "x.csv.gz", "x.json", "x.parquet", "x.pkl", "x.feather"])
def test_pandas(url: str, frame: Any, name: str) -> None:
    pandas, _ = need("pandas", "pyarrow")
    kind = {"pkl": "pickle"}.get(name.split(".")[1], name.split(".")[1])
    options = {"index": False} if kind == "csv" else {}
    getattr(frame, f"to_{kind}")(f"{url}/d/{name}", **options)
    assert getattr(pandas, f"read_{kind}")(f"{url}/d/{name}").equals(frame)


def test_pandas_partitions(url: str, frame: Any) -> None:
    pandas, _ = need("pandas", "pyarrow")
    frame.to_parquet(f"{url}/parts", partition_cols=["word"])
    part = pandas.read_parquet(f"{url}/parts", filters=[("word", "==", "w3")], columns=["n"])
    assert sorted(part["n"]) == list(range(3, 1000, 7))
    assert len(pandas.read_parquet(f"{url}/parts")) == 1000


def test_pyarrow_dataset(url: str, filesystem: Any, frame: Any) -> None:
    arrow, dataset, parquet = need("pyarrow", "pyarrow.dataset", "pyarrow.parquet")
    path = url.removeprefix("objstore://") + "/set"
    table = arrow.Table.from_pandas(frame)
    parquet.write_to_dataset(table, path, partition_cols=["word"], filesystem=filesystem)
    dataset.write_dataset(table, path + "-2", format="arrow", filesystem=filesystem)
    read = dataset.dataset(path, filesystem=filesystem, partitioning="hive")
    assert read.count_rows(filter=dataset.field("word") == "w3") == 143
    read = dataset.dataset(path + "-2", format="arrow", filesystem=filesystem)
    assert read.to_table().sort_by("n").equals(table.sort_by("n"))


def test_duckdb(url: str, filesystem: Any, frame: Any) -> None:
    duckdb, _ = need("duckdb", "pyarrow")
    with duckdb.connect() as connection:
        connection.register_filesystem(filesystem)
        for number in range(3):
            connection.execute(
                f"COPY (SELECT n FROM frame WHERE n % 3 = {number})"
                f" TO '{url}/out/{number}.parquet' (FORMAT parquet)"
            )
        connection.execute(f"COPY frame TO '{url}/out/all.csv' (HEADER)")
        rows = connection.execute(f"SELECT count(*), sum(n) FROM '{url}/out/*.parquet'").fetchall()
        assert rows == [(1000, 499_500)]
        assert connection.execute(f"SELECT max(half) FROM '{url}/out/all.csv'").fetchall() == [
            (499.5,)
        ]


def test_dask(url: str, frame: Any) -> None:
    dask, frames, _ = need("dask", "dask.dataframe", "pyarrow")
    with dask.config.set(scheduler="threads"):
        frames.from_pandas(frame, npartitions=4).to_parquet(f"{url}/dask")
        assert frames.read_parquet(f"{url}/dask").n.sum().compute() == 499_500
        frames.from_pandas(frame, npartitions=2).to_csv(f"{url}/dask-*.csv", index=False)
        assert len(frames.read_csv(f"{url}/dask-*.csv").compute()) == 1000


def test_zarr(url: str) -> None:
    pytest.importorskip("zarr", minversion="3")
    zarr, numpy = need("zarr", "numpy")
    data = numpy.arange(10_000).reshape(100, 100)
    store = zarr.storage.FsspecStore.from_url(f"{url}/z")
    group = zarr.create_group(store)
    group.create_array("a", data=data, chunks=(30, 30))
    again = zarr.open_group(zarr.storage.FsspecStore.from_url(f"{url}/z"), mode="r")
    assert (again["a"][:] == data).all() and again["a"][31, 62] == 3162
    assert list(again) == ["a"]


def test_xarray(url: str, filesystem: Any, tmp_path: Path) -> None:
    pytest.importorskip("zarr", minversion="3")
    xarray, numpy, fsspec, *_ = need("xarray", "numpy", "fsspec", "h5netcdf", "h5py")
    data = xarray.Dataset({"t": (("x", "y"), numpy.arange(600.0).reshape(20, 30))})
    data.to_zarr(f"{url}/x.zarr")
    assert xarray.open_zarr(f"{url}/x.zarr").identical(data)
    data.to_netcdf(tmp_path / "x.nc", engine="h5netcdf")
    filesystem.put_file(str(tmp_path / "x.nc"), f"{url}/x.nc")
    with fsspec.open(f"{url}/x.nc") as file, xarray.open_dataset(file, engine="h5netcdf") as read:
        assert read.load().identical(data)


def test_joblib(url: str, tmp_path: Path) -> None:
    joblib, numpy, fsspec = need("joblib", "numpy", "fsspec")
    value = {"weights": numpy.arange(10_000), "name": "model"}
    with fsspec.open(f"{url}/m.joblib", "wb") as file:
        joblib.dump(value, file)
    with fsspec.open(f"{url}/m.joblib") as file:
        read = joblib.load(file)
    assert (read["weights"] == value["weights"]).all() and read["name"] == "model"


def test_one_column_is_a_fraction_of_the_bytes(
    url: str, filesystem: Any, store: ObjectStore
) -> None:
    pandas, numpy, _ = need("pandas", "numpy", "pyarrow")
    random = numpy.random.default_rng(1)
    wide = pandas.DataFrame({f"c{n}": random.random(60_000) for n in range(30)})
    wide.to_parquet(f"{url}/wide.parquet")
    size = store.get_info("wide.parquet").size
    assert size > 10_000_000
    traffic = Traffic(filesystem._client)
    column = pandas.read_parquet(f"{url}/wide.parquet", columns=["c17"])
    assert column["c17"].equals(wide["c17"])
    assert traffic.bytes < size / 10
