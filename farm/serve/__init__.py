"""`farm serve`: runs are asked for, looked at and cancelled over HTTP, by who has a token. Thin: what it does is done
by `farm.jobs` and `farm.status`. No request can name a command, a variable, a weight file or a path outside the roots.

settings.py  what the service was told       bearer.py   the token and its file
roots.py     which paths may be named         fields.py   which options may be asked for, from the configuration's own
request.py   what a body is, and the words of `farm submit` that it becomes     answer.py   what is answered
faults.py    errors as answers                runs.py     what each request does
guard.py     who gets in, and with how much   app.py      the routes: FastAPI
server.py    socket, signals, uvicorn
"""
