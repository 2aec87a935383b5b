"""
An album: what is uploaded with a form is kept in a bucket and served with ranges.

    NATS_URL=nats://localhost:4222 python django_app.py runserver

All of a Django project in one file; in yours, the parts are in `settings.py`, `urls.py`
and `views.py`.
"""

import os
import sys

from django.conf import settings
from django.core.files.storage import default_storage
from django.core.management import execute_from_command_line
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template import engines
from django.urls import path

from objstore.contrib.django import serve

settings.configure(
    SECRET_KEY=os.environ.get("SECRET_KEY", "for trying it out only"),
    ALLOWED_HOSTS=["localhost", "127.0.0.1"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
    ],
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
    USE_TZ=True,
    MEDIA_URL="/media/",
    STORAGES={
        "default": {
            "BACKEND": "objstore.contrib.django.ObjectStorage",
            "OPTIONS": {"bucket": "album", "create_bucket": True},
        },
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    },
)

PAGE = """
<!doctype html>
<title>Album</title>
<form method="post" enctype="multipart/form-data">
  {% csrf_token %}
  <input type="file" name="picture" required> <button>Keep it</button>
</form>
<ul>
  {% for name, url in pictures %}<li><a href="{{ url }}">{{ name }}</a>{% endfor %}
</ul>
"""


def index(request: HttpRequest) -> HttpResponse:
    if request.method == "POST":
        picture = request.FILES["picture"]
        default_storage.save(picture.name, picture)
        return redirect("index")
    _, names = default_storage.listdir("")
    pictures = [(name, default_storage.url(name)) for name in names]
    page = engines["django"].from_string(PAGE)
    return HttpResponse(page.render({"pictures": pictures}, request))


def media(request: HttpRequest, name: str) -> HttpResponseBase:
    return serve(request, default_storage, name)


urlpatterns = [path("", index, name="index"), path("media/<path:name>", media)]
application = get_wsgi_application()

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
