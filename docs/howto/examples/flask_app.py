"""
An album: what is uploaded with a form is kept in a bucket and served with ranges.

    NATS_URL=nats://localhost:4222 flask --app flask_app run
"""

import functools

from flask import Flask, Response, redirect, render_template_string, request, url_for
from werkzeug.utils import secure_filename

import objstore
from objstore.contrib.flask import send_object

app = Flask(__name__)
client = objstore.Client()  # connects at first use, in each worker for itself

PAGE = """
<!doctype html>
<title>Album</title>
<form method="post" enctype="multipart/form-data">
  <input type="file" name="picture" required> <button>Keep it</button>
</form>
<ul>
  {% for info in infos %}
  <li><a href="{{ url_for('picture', name=info.name) }}">{{ info.name }}</a> {{ info.size }} bytes
  {% endfor %}
</ul>
"""


@functools.cache
def album() -> objstore.ObjectStore:
    return client.create_object_store("pictures")  # does nothing if it is there already


@app.get("/")
def index() -> str:
    return render_template_string(PAGE, infos=album().list())


@app.post("/")
def upload() -> Response:
    file = request.files["picture"]
    album().put(secure_filename(file.filename or "") or "nameless", file.stream)
    return redirect(url_for("index"))


@app.get("/pictures/<path:name>")
def picture(name: str) -> Response:
    return send_object(album(), name)
